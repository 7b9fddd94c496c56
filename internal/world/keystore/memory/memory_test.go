package memory_test

import (
	"testing"

	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/keystore/keystoretest"
	"github.com/leastkey/leastkey/internal/world/keystore/memory"
)

func TestStore(t *testing.T) {
	keystoretest.Run(t, func(*testing.T) keystore.Store { return memory.New() })
	keystoretest.RunReplacer(t, func(*testing.T) keystoretest.ReplacingStore { return memory.New() })
	keystoretest.RunSecrets(t, func(*testing.T) keystoretest.SecretStore { return memory.New() })
}
