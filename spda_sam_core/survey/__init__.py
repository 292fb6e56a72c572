"""One dive, one page: `dive` (the loop) calls `journal`, `sight`, `strip`, `findings`; then `tables` and `report`."""
