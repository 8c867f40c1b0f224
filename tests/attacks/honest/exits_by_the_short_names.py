# what: `exit()` and `quit()`, as programs of contests end
# form: program
# tests: [{"input": "1\n", "output": "a\n"}, {"input": "2\n", "output": "b\n"}]
if input() == "1":
    print("a")
    exit()
print("b")
quit(0)
