package entra

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Entra Agent ID at the token endpoint. A blueprint proves itself with a credential and asks for a token for the exchange, T1, that names
// one of its agent identities in fmi_path. The identity has no credential: T1 is its client assertion, for tokens of its own, for T2
// (a token for the exchange again) with which it speaks for its agent user, and for tokens on behalf of a person.
//
// Sources: Microsoft, "Authentication protocols in agents", the pages of its three flows and "Token claims reference for agents" (2025 and
// 2026); claims as in tokens recorded in March 2026.

// agentOf is the client's type of Agent ID, "" for any other.
func agentOf(c client) directory.Agent {
	switch {
	case c.sp != nil:
		return c.sp.Agent
	case c.app != nil:
		return c.app.Agent
	}
	return ""
}

// readParent adds the blueprint of an agent identity to the client.
func (s *Service) readParent(v replica.View, c *client) {
	if c.sp != nil && c.sp.Agent == directory.AgentIdentity {
		c.parent, c.parentSP = s.env.Dir.Parent(v, *c.sp)
	}
}

// parented checks the blueprint of an agent identity: without its principal the identity cannot authenticate, nor when that is disabled
// (Microsoft, "Agent identity deletion"). Which codes it meets then was not seen live; these are what the blueprint itself would.
func (s *Service) parented(c client) *failure {
	if agentOf(c) != directory.AgentIdentity {
		return nil
	}
	parent := client{id: c.sp.BlueprintID, app: c.parent, sp: c.parentSP}
	if parent.app == nil || parent.sp == nil {
		return s.present(client{id: parent.id})
	}
	return s.known(parent)
}

// agentic refuses what a blueprint may not ask for itself. It gets tokens for the exchange, and for Microsoft Graph to make its
// identities; every other resource is refused, whatever it was granted there (observed 2026).
func agentic(q *request, c client, res resource) *failure {
	_, named := q.form["fmi_path"]
	blueprint, exchange := agentOf(c) == directory.BlueprintPrincipal, res.sp.AppID == directory.ExchangeAppID
	switch {
	case named && (!blueprint || !exchange || q.form.Get("fmi_path") == ""):
		// An empty path is refused (observed 2025-12), with a code that was not recorded; this one is documented for parameters in general.
		return badRequest(90100, "fmi_path parameter is empty or not valid.")
	case blueprint && !exchange && !isGraph(res):
		return fail(400, "unauthorized_client", 82001, "Agentic application '%s' is not permitted to request app-only tokens for resource '%s'.", c.id, res.sp.AppID)
	}
	return nil
}

// agentRoles are the application permissions on Microsoft Graph that every blueprint has without being given them (observed 2026-03).
func agentRoles(c client, res resource) []string {
	if agentOf(c) != directory.BlueprintPrincipal || !isGraph(res) {
		return nil
	}
	return []string{"AgentIdUser.ReadWrite.IdentityParentedBy", "AgentIdentity.CreateAsManager"}
}

// markApp adds what an agent's own token says. Facets: 11 is an agent identity; 3 and 9 are as recorded, and documented nowhere.
func (s *Service) markApp(claims *authority.Claims, q *request, c client) {
	if agentOf(c) == "" {
		return
	}
	s.markActor(claims, c)
	claims.IDType, claims.XmsIDRel, claims.XmsSubFct = "app", "7", claims.XmsActFct
	if claims.Audience == directory.ExchangeAppID {
		claims.XmsFICInfo = s.opaque(12)
	}
	if path := q.form.Get("fmi_path"); path != "" {
		claims.Subject = s.exchangeSubject(c.id, path)
	}
}

// markActor says who acts: the agent identity, and the blueprint behind it.
func (s *Service) markActor(claims *authority.Claims, c client) {
	switch agentOf(c) {
	case directory.BlueprintPrincipal:
		claims.XmsActFct = "3 9"
	case directory.AgentIdentity:
		claims.XmsActFct, claims.XmsParAppAZP = "3 9 11", c.sp.BlueprintID
	}
}

// markUser adds what a token for a user says of the agent that has it. Facet 13 is an agent user.
func (s *Service) markUser(claims *authority.Claims, c client, u directory.User) {
	if s.markActor(claims, c); claims.XmsActFct != "" {
		claims.IDType, claims.XmsIDRel = "user", "1"
	}
	if u.Agent == directory.AgentUser {
		claims.XmsSubFct = "3 13"
	}
}

// exchangeSubject is the sub of T1: the tenant and the blueprint, each as base64url of the bytes that a GUID has in memory on Windows,
// and the path.
func (s *Service) exchangeSubject(blueprint, path string) string {
	return "/eid1/c/pub/t/" + guidBytes(s.env.Dir.Tenant.ID) + "/a/" + guidBytes(blueprint) + "/" + strings.ToLower(path)
}

// guidBytes writes a GUID so: its first three parts are little-endian (Microsoft, Guid.ToByteArray).
func guidBytes(guid string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(guid, "-", ""))
	if err != nil || len(b) != 16 {
		return ""
	}
	b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	b[4], b[5], b[6], b[7] = b[5], b[4], b[7], b[6]
	return base64.RawURLEncoding.EncodeToString(b)
}

// byBlueprint verifies T1 as the client assertion of an agent identity, as if each identity had one federated credential: this cloud's
// issuer, the exchange as audience, and the subject that names its blueprint and itself. So a token that no fmi_path was given for, or
// one for Microsoft Graph, meets AADSTS700211 (documented), one for a sibling or from another blueprint AADSTS700213, and one for another
// resource AADSTS700212. T1 may be used again while it lives: clients cache it, and the flow of agent users sends it twice.
func (s *Service) byBlueprint(a *assertion, c client) *failure {
	exchange := false
	for _, aud := range a.claims.Audience {
		exchange = exchange || aud == directory.ExchangeAppID
	}
	switch {
	case a.claims.Issuer != s.env.Auth.Issuer("2.0"), exchange && !strings.HasPrefix(a.claims.Subject, "/eid1/"):
		return badClient(700211, "No matching federated identity record found for presented assertion issuer '%s'. %s", a.claims.Issuer, federationHelp)
	case !exchange:
		return badClient(700212, "No matching federated identity record found for presented assertion audience '%s'. %s", strings.Join(a.claims.Audience, " "), federationHelp)
	case a.claims.Subject != s.exchangeSubject(c.sp.BlueprintID, c.id):
		return badClient(700213, "No matching federated identity record found for presented assertion subject '%s'. %s", a.claims.Subject, federationHelp)
	}
	claims, err := s.env.Auth.Verify("Bearer "+a.raw, directory.ExchangeAppID)
	switch {
	case err == nil && claims.AZP == c.sp.BlueprintID:
		return nil
	case errors.Is(err, authority.ErrExpired), errors.Is(err, authority.ErrNotYet):
		if f := a.timely(s.env.Now()); f != nil {
			return f
		}
		return invalidAssertion("The token is outside its lifetime.")
	}
	return invalidAssertion("The provided signature value did not match the expected signature value.")
}
