package core

// hidden keeps a value out of what fmt prints. Intent and Headers have Format
// methods, but fmt cannot call a method of an unexported field of another struct.
// It then prints the field's contents by reflection. It follows one pointer for
// some verbs, but never a pointer to a pointer. The box holds a pointer to itself,
// so that both pointers cost one allocation. A func would hide the value too, but
// reflect.DeepEqual would then never find two intents equal, and the assertions
// of most test libraries use it.
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

// get returns the value, or nil if there is none. It must not be changed.
func (h hidden[T]) get() *T {
	if h.at == nil {
		return nil
	}
	return &(*h.at).value
}
