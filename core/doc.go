// Package core holds the nouns of airlock: the Intent that says what should
// happen, the Executor that decides how, and what both sides agree on.
package core
