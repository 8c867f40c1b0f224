# what: a class under test, by its methods and attributes
# form: test
# entry: Account
# check: a = candidate("eve", balance=3); assert a.deposit(4).deposit(5).balance == 12; assert len(a) == 2 and a[1] == 5; assert list(a) == [4, 5]; assert a.history == [4, 5]; a.balance = 1; assert a.balance == 1; b = candidate("bob"); assert b.balance == 0
class Account:
    def __init__(self, owner, balance=0):
        self.owner, self.balance, self.history = owner, balance, []

    def deposit(self, amount):
        if amount <= 0:
            raise ValueError("not an amount")
        self.balance += amount
        self.history.append(amount)
        return self

    def __len__(self):
        return len(self.history)

    def __getitem__(self, i):
        return self.history[i]
