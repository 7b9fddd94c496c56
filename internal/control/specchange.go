package control

import "context"

// ChangeSpec changes leastkey.yaml: the ledger has it first. Where it fails, the ledger has that too.
func (d *Door) ChangeSpec(ctx context.Context, agentName, detail string, change func() error) error {
	if err := d.enter(ctx, "spec", agentName, detail, nil); err != nil {
		return err
	}
	if err := change(); err != nil {
		return d.enter(context.WithoutCancel(ctx), "spec", agentName, detail, err)
	}
	return nil
}
