"""How good a model is: COCO metrics, tables, curves and reports."""
