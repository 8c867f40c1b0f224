# kind: crashes
# through: trainer dead
# form: program
import ctypes

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
block = libc.malloc(64)
libc.free(block)
libc.free(block)
libc.free(block + 8)
