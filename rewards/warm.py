"""Importing this makes math-verify's first answers as fast as its later ones: the grammar's tables are filled by use.

Always true here: nothing but that. The server that forks workers imports it, so that every fork is warm.
"""

from .symbolic import equal

for _gold, _answer in (
    (r"\frac{1+\sqrt{5}}{2}", r"\frac{\sqrt{5}+1}{2}"),
    (r"(1,2]\cup[3,\infty)", r"\left(1,2\right] \cup \left[3,\infty\right)"),
    (r"\{1,2,-3\}", "1, 2, -3"),
    (r"x^{2}+2xy-\frac{3}{4}y^3", "(x+1)^{2}(y-2x)"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ("y = 2x - 5", "2x - y = 5"),
    (r"x \le 3", r"(-\infty, 3]"),
    (r"\sin(x)\cos^2(\pi/3)", r"\frac{\sin x}{4}"),
    (r"3e^{2x}+\ln 5", r"\log_2(8) + |x| + 5! + \binom{5}{2}"),
    ("50\\%", r"2^{3} \cdot 10 \pm 2"),
    ("(1, -2, 3)", r"(1,-2,\frac{6}{2})"),
):
    equal(_gold, _answer, seconds=60)  # the first of all loads sympy
