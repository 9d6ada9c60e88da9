// Package rivertools proves that River's own user interface can work with our
// jobs. It is a module of its own, for what riverui needs is nobody else's.
package rivertools
