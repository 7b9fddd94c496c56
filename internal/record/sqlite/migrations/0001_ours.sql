-- Marks the file as one of leastkey's ("LKey" in ASCII), so that another program's database is never taken for ours.
-- The tables belong to the packages that use them; a later change of a table is a numbered file here.
PRAGMA application_id = 1280009593;
