"""The attributes of <rc/> (as of MediaWiki 1.39), for a library that wants to know them beforehand."""
ATTRIBUTES = ('type ns title new_ns new_title rcid pageid revid old_revid user userid temp anon bot new minor oldlen newlen timestamp comment '
              'redirect logid logtype logaction wikiid').split()
