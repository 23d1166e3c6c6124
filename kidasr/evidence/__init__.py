"""Did it help, at which ages, and how sure is that?"""
