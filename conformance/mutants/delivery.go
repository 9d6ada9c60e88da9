package mutants

var workerMutants = []Variant{}
