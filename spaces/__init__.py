"""Built-in spaces, installed as `nasplat.spaces`. Each module is one plug-in; see `nasplat.plugins`."""

if __name__ != "nasplat.spaces":
    raise ImportError("this folder is installed as nasplat.spaces; use nasplat.load(\"spaces\", name)")
