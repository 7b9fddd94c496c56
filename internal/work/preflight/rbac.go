package preflight

// ARM is the part of Azure Resource Manager that the checks ask, as the operator.
type ARM interface {
}

type rbacLookups struct{}

// wire says who owns each lookup, and how it is read.
func (l *rbacLookups) wire() {}

func rbacChecks() []Check { return nil }
