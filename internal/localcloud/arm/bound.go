package arm

import "github.com/leastkey/leastkey/internal/localcloud/replica"

// BoundIdentity is a managed identity that a resource may use.
type BoundIdentity struct {
	ID          string // resource id that tokens name in xms_mirid: of the identity, or of the resource for its own one
	PrincipalID string
	ClientID    string // "" if the replica does not show the service principal of a system-assigned identity
	System      bool   // assigned by the system: the resource's own
}

// BoundIdentities reads a resource's identity block: what the code that runs on it may ask tokens for. A user-assigned identity that is
// named there and does not exist any more is left out, as nothing stands behind it. found tells whether the resource exists.
func (s *Service) BoundIdentities(v replica.View, id ID) (bound []BoundIdentity, found bool) {
	r, found := s.resources.Get(v, id.Key())
	if !found || r.Type == identityType {
		return nil, found
	}
	if own := principalOf(r); own != "" {
		sp, _ := s.env.Dir.ServicePrincipals.Get(v, own)
		bound = append(bound, BoundIdentity{ID: r.ID, PrincipalID: own, ClientID: sp.AppID, System: true})
	}
	for _, one := range boundIdentities(r.Body) {
		mi, exists := s.resources.Get(v, one.Key())
		if !exists || mi.Type != identityType {
			continue
		}
		client, _ := mi.Properties()["clientId"].(string)
		bound = append(bound, BoundIdentity{ID: mi.ID, PrincipalID: principalOf(mi), ClientID: client})
	}
	return bound, true
}

// HasIdentityBlock tells whether the resource has an identity block at all, whatever it names.
func (s *Service) HasIdentityBlock(v replica.View, id ID) bool {
	r, found := s.resources.Get(v, id.Key())
	_, has := r.Body["identity"].(object)
	return found && has && r.Type != identityType
}
