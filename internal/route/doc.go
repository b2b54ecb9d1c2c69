// Package route is where traffic goes: the table that control makes and the
// edge follows, what the edge reports of a request, and what it says when no
// app answers. It must never know how a table came to be, nor about Docker or
// the database; connections are the business of its sub-packages.
package route
