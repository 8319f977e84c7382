"""Built-in spaces, one plug-in a module, installed as `nasplat.spaces`."""

if __name__ != "nasplat.spaces":
    raise ImportError("this folder is installed as nasplat.spaces: use nasplat.load('spaces', name)")
