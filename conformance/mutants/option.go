package mutants

var optionMutants = []Variant{}
