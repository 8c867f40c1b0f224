# what: dates, times and durations, compared with the test's own
# form: test
# entry: solve
# check: import datetime as d\nassert candidate("2024-03-06") == d.date(2024, 3, 6)\nassert candidate(d.date(2024, 2, 28)) == d.timedelta(2)\nassert candidate(0) == d.datetime(1970, 1, 1, tzinfo=d.timezone.utc)
import datetime

def solve(given):
    if isinstance(given, str):
        return datetime.date.fromisoformat(given)
    if isinstance(given, datetime.date):
        return datetime.date(2024, 3, 1) - given
    return datetime.datetime.fromtimestamp(given, datetime.timezone.utc)
