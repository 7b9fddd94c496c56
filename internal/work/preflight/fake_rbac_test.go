package preflight

// fakeRBAC is what Azure Resource Manager knows, and what it lets the identity do.
type fakeRBAC struct{}

func healthyRBAC(*fake) fakeRBAC { return fakeRBAC{} }

type fakeARM struct{ *fake }

// repeatedRBAC are methods that are asked once per scope.
func repeatedRBAC(string) bool { return false }

func rbacWorlds() []world { return nil }
