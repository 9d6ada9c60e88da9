package mutants

var errorMutants = []Variant{}
