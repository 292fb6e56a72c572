"""The look of the report and what it does on a screen. Nothing is loaded from elsewhere; it reads without scripts."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

STYLE = """
:root{--ink:#16212b;--quiet:#5b6b78;--line:#d5dde3;--paper:#fff;--tint:#f3f6f8;--mark:#b4460f}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
  font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px}
h1{font-size:26px;margin:0 0 2px}h2{font-size:19px;margin:34px 0 8px;border-bottom:2px solid var(--ink);
  padding-bottom:3px}
h3{font-size:15px;margin:16px 0 6px}
p{margin:6px 0}.quiet{color:var(--quiet);font-size:13px}
dl.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:0 24px;margin:12px 0}
dl.facts div{display:flex;border-bottom:1px solid var(--line);padding:4px 0}
dt{color:var(--quiet);flex:0 0 104px}dd{margin:0;overflow-wrap:anywhere;min-height:1.4em;flex:1}
.confirm{border:2px solid var(--mark);padding:10px 14px;margin:14px 0}
.sign{display:flex;gap:28px;margin-top:22px;flex-wrap:wrap}.sign span{flex:1 1 200px;
  border-top:1px solid var(--ink);font-size:12px;color:var(--quiet)}
.totals{display:flex;flex-wrap:wrap;gap:10px;margin:12px 0}
.totals div{background:var(--tint);padding:8px 14px;min-width:112px}.totals b{display:block;font-size:22px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}th{
  font-weight:600}
td.n,th.n{text-align:right}
.dot{display:inline-block;width:11px;height:11px;border-radius:3px;border:1px solid #0004;margin-right:6px;
  vertical-align:-1px}
.bar{background:var(--tint);height:12px;min-width:120px}.bar i{display:block;height:100%;background:#5e8f2a}
svg{display:block;width:100%;height:auto}svg a{cursor:pointer}
.filters{position:sticky;top:0;z-index:2;background:var(--paper);border:1px solid var(--line);padding:8px 12px;
  display:flex;flex-wrap:wrap;gap:8px 18px;align-items:center}
.filters label{white-space:nowrap}.filters output{display:inline-block;min-width:2.4em}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(258px,1fr));gap:14px;margin-top:10px}
.card{border:1px solid var(--line);break-inside:avoid;scroll-margin-top:90px;display:flex;flex-direction:column}
.card:target{outline:3px solid var(--mark)}
.card img{width:100%;height:210px;object-fit:contain;background:#10171d}
.card .nostill{height:210px;display:flex;align-items:center;justify-content:center;background:var(--tint)}
.card div.text{padding:7px 10px 9px;font-size:13.5px}.card h4{margin:0 0 3px;font-size:15px}
.card.unsure{border-style:dashed}
.scroll{overflow-x:auto}[hidden]{display:none!important}
a{color:#0b5394}
@media print{@page{size:A4;margin:13mm}body{font-size:10.5pt}main{padding:0;max-width:none}.filters{display:none}
h2,h3{break-after:avoid}.gallery{grid-template-columns:repeat(3,minmax(0,1fr));gap:8px}
.card img,.card .nostill{height:150px}
tr,.confirm,.map,.totals{break-inside:avoid}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}a{
  color:inherit;text-decoration:none}}
"""

SCRIPT = """
(function(){
var cards=[].slice.call(document.querySelectorAll('.card')),shown=document.getElementById('shown');
var score=document.getElementById('score'),unsure=document.getElementById('unsure');
var order=document.getElementById('order');
var names=[].slice.call(document.querySelectorAll('input[name=class]'));
function apply(){
  var wanted={},n=0;names.forEach(function(b){wanted[b.value]=b.checked});
  score.nextElementSibling.value=(+score.value).toFixed(2);
  cards.forEach(function(c){
    var d=c.dataset,show=wanted[d.class]&&+d.score>=+score.value&&(unsure.checked||d.unsure!=='1');
    c.hidden=!show;n+=show;
    [].forEach.call(document.querySelectorAll('[data-finding="'+d.number+'"]'),function(m){
  m.style.display=show?'':'none'});
  });
  [].forEach.call(document.querySelectorAll('.group'),function(g){g.hidden=!g.querySelector('.card:not([hidden])')});
  shown.textContent=n+' shown';
}
function sort(){
  var key=order.value,up=key==='time'?1:-1;
  [].forEach.call(document.querySelectorAll('.gallery'),function(g){
    [].slice.call(g.children).sort(function(a,b){return up*(a.dataset[key]-b.dataset[key])}).forEach(function(c){
  g.appendChild(c)});
  });
}
names.concat([score,unsure]).forEach(function(e){e.addEventListener('input',apply)});
order.addEventListener('change',sort);
window.addEventListener('hashchange',function(){
  var c=document.getElementById(location.hash.slice(1));
  if(c&&c.classList.contains('card')&&c.hidden){score.value=0;unsure.checked=true;names.forEach(function(b){
  b.checked=true});apply();c.scrollIntoView()}
});
apply();
})();
"""


def page_of(title: str, body: Iterable[str]) -> str:
    """A whole page around its parts."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Survey: {escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )
