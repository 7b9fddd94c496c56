package preflight

// fakeSecrets is this machine: its files, and the vault as the identity sees it.
type fakeSecrets struct{}

func healthySecrets(*fake) fakeSecrets { return fakeSecrets{} }

type fakeHost struct{ *fake }

// repeatedSecrets are methods that are asked once per file.
func repeatedSecrets(string) bool { return false }

func secretsWorlds() []world { return nil }
