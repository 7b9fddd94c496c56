package graph

// agentSchemaText lists the types of Entra Agent ID in the form of schemaText; "type T of B" has what B has. Filters by
// agentIdentityBlueprintId and identityParentId work on the collections of the type only (observed 2026-07).
const agentSchemaText = `
type agentIdentityBlueprint of application
sponsors nav expand
nav inheritablePermissions

type agentIdentityBlueprintPrincipal of servicePrincipal
sponsors nav expand

type agentIdentity of servicePrincipal
agentIdentityBlueprintId guidtext eq in
sponsors                 nav      expand

type agentUser of user
identityParentId guidtext eq in

type inheritablePermission
resourceAppId text eq
- inheritableScopes inheritableRoles
`
