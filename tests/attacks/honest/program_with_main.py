# what: a program with a main guard, fast input and output
# form: program
# tests: [{"input": "1 2\n3\n", "output": "2\n4\n6"}, {"input": "", "output": ""}]
import sys

def main():
    data = sys.stdin.buffer.read().split()
    sys.stdout.write("\n".join(str(int(x) * 2) for x in data) + "\n")

if __name__ == "__main__":
    main()
    sys.exit(0)
