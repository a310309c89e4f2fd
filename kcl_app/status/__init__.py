"""What `kcl-app status` and `kcl-app top` show: `gather` asks, `model` and `verdict` judge, `render` shows it.

Whatever does not answer is named, and the rest is shown: at three in the morning half of an answer is better than none.
"""
