package control

import (
	"context"
	"fmt"

	"github.com/leastkey/leastkey/internal/domain/api"
)

// Refused enters an attempt that a face has refused before it came here.
func (d *Door) Refused(ctx context.Context, action, subject, why string) error {
	if _, err := d.c.Ledger.Append(ctx, api.LedgerEntry{Actor: d.c.Actor, Action: action, Subject: subject, Detail: why}); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}
