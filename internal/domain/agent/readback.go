package agent

// readBack ends a plan that changes anything with the proof and the read-back, and then publishes.
func (d *differ) readBack() {
	moved, env := d.movedEnv(), d.writesEnv()
	if len(d.plan.Steps) == 0 && !env {
		return
	}
	if !d.agent.Keyless() {
		d.login()
	}
	var all []string
	for _, s := range d.plan.Steps {
		all = append(all, s.ID)
	}
	s := Step{ID: stepVerify, Action: Verify, Plane: Here, Title: "read everything back", Why: "no password, only our certificates, exactly the planned roles", After: all,
		With: map[string]string{"application": "$application", "app_id": "$app_id", "principal": "$principal"}}
	switch {
	case d.agent.Kind == ManagedIdentity:
		s.With = map[string]string{"resource": "$resource", "app_id": "$app_id", "principal": "$principal"}
		s.Why = "only the federated credentials of the spec, exactly the planned roles"
	case d.agent.Keyless():
		s.Why = "no password, only the federated credentials of the spec, exactly the planned roles"
	}
	if d.seen.AzureUnread {
		s.With[WithoutAssignments] = "true"
		s.Title, s.Why = "read the application back", "no password, only our certificates; you may not read role assignments"
		if d.agent.Keyless() {
			s.Why = "no password, only the federated credentials of the spec; you may not read role assignments"
		}
	}
	if names := d.expectedFederated(); names != "" {
		s.With["federated"] = names
	}
	d.step(s)
	if env {
		d.step(Step{ID: stepEnv, Action: WriteEnv, Plane: Here, Title: "write the environment file " + d.agent.EnvFile, With: d.envWith(d.agent.EnvFile), After: []string{stepVerify}})
	}
	if moved {
		d.step(Step{ID: "clear-environment", Action: ClearEnv, Plane: Here, Title: "remove its keys from the environment file " + d.rec.EnvFile, Why: "env_file names another file now", Destroys: true,
			With: d.envWith(d.rec.EnvFile), After: []string{stepEnv}})
	}
}

// envWith is what the keys of an environment file follow from.
func (d *differ) envWith(file string) map[string]string {
	with := map[string]string{"file": file, "app_id": "$" + FactAppID}
	if d.agent.Kind == ManagedIdentity {
		with["resource"] = "$" + FactResource
	}
	return with
}
