from . import contree_mcp

contree_mcp()
