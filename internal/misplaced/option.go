// Package misplaced lets packages that take options of their own in a list of scope
// options refuse them everywhere else. An option of the root package has unexported
// methods, so only that package can make one.
package misplaced

import "time"

// Option makes an airlock.Option that fails with err wherever it is applied. The
// root package sets it.
var Option func(err error) any

// FlushLimit returns the duration of an option that airlock.FlushLimit has made, and
// false for every other option. The root package sets it.
var FlushLimit func(option any) (time.Duration, bool)
