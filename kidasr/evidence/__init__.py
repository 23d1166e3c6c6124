"""Did it help, for which age, and how sure is that?"""
