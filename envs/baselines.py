"""What a model has to beat: word counts and a linear classifier, trained in seconds on the same demonstrations.

Always true here: the same texts give the same answers; nothing is imported from scikit-learn until it is used.

    answers = tfidf_logistic(["pay by card", "where is my parcel"], ["billing", "delivery"], ["my card was refused"])
"""

from __future__ import annotations

from collections.abc import Sequence


def tfidf_logistic(train_texts: Sequence[str], train_labels: Sequence[str], texts: Sequence[str]) -> list[str]:
    """The label that TF-IDF (words and pairs of words) with logistic regression gives to each of `texts`.

    Args:
        train_texts: the texts it learns from; at least one.
        train_labels: their labels, one a text.
        texts: what it is asked about.

    Returns:
        One label for each of `texts`, always one of `train_labels`.

    Raises:
        ValueError: no training text, or not one label for each.
    """
    if not train_texts or len(train_texts) != len(train_labels):
        raise ValueError(
            f"{len(train_texts)} training texts and {len(train_labels)} labels; there should be one for each"
        )
    if len(set(train_labels)) == 1 or not texts:
        return [train_labels[0]] * len(texts)

    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    # Single letters and signs count too: texts made of nothing else must not leave an empty vocabulary.
    # Among thousands of texts, a word seen once tells nothing and triples the time.
    rare = 2 if len(train_texts) > 5000 else 1
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]+", min_df=rare)
    # C=10: the usual C=1 underfits rows scaled to length 1.
    model = make_pipeline(words, LogisticRegression(C=10.0, max_iter=300, tol=1e-3))
    model.fit(list(train_texts), list(train_labels))
    return [str(label) for label in model.predict(list(texts))]
