package preflight

// Host is the machine that the preflight runs on: its files, its clock, its keystore.
type Host interface {
}

type secretsLookups struct{}

// wire says who owns each lookup, and how it is read.
func (l *secretsLookups) wire() {}

func secretsChecks() []Check { return nil }
