package core

// hidden holds a value where fmt does not find it. An Intent and Headers have
// Format methods, but fmt cannot call them on the unexported field of somebody
// else's struct: there it prints what it sees, and behind a pointer it looks as
// soon as the verb does not fit. Behind a pointer to a pointer it never does.
// The box points at itself so that this costs one allocation, not two.
type hidden[T any] struct{ at **box[T] }

type box[T any] struct {
	self  *box[T]
	value T
}

func hide[T any](value T) hidden[T] {
	b := &box[T]{value: value}
	b.self = b
	return hidden[T]{&b.self}
}

// get returns the value, nil if there is none. Nobody may change it.
func (h hidden[T]) get() *T {
	if h.at == nil {
		return nil
	}
	return &(*h.at).value
}
