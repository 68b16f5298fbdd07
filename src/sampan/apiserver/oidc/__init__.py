"""Users whom others vouch for: tokens of OpenID Connect issuers, as an AuthenticationConfiguration says.

`configuration` reads the file; `issuers` finds an issuer's keys and verifies what it signed; `claims` makes a user of
what a token says. Nothing of this is loaded without such a file. Sources: KEP-3331 (structured authentication); OpenID
Connect Discovery 1.0; RFC 7515, 7517, 7519.
"""
