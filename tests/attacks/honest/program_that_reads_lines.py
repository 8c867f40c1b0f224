# what: a program that reads until the end of its input
# form: program
# tests: [{"input": "abc\nd \u00e9\n", "output": "cba\n\u00e9 d"}]
try:
    while True:
        line = input()
        print(line[::-1], end=" \n")
except EOFError:
    print()
