package app

// preflightARM fits the client of Azure Resource Manager to what the checks ask, as the operator.
type preflightARM struct {
	p *place
	w outside
}
