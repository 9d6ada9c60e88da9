package mutants

var payloadMutants = []Variant{}
