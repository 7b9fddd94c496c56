package graph

import (
	"iter"
	"strings"
)

// permission is one of Microsoft Graph's, with the ids of its two forms; "" where it does not have the form.
type permission struct{ name, delegated, app string }

// graphPermissions lists name, id as a delegated permission (scope) and id as an application permission (app role); "-" for none.
// Sources: Microsoft Graph permissions reference; for the AgentIdentity ones, "Microsoft Entra Agent ID APIs in Microsoft Graph".
const graphPermissions = `
AgentIdentityBlueprint.Create                     8fc15edd-ba24-494e-9bf6-d38e1b7ba8fd ea4b2453-ad2d-4d94-9155-10d5d9493ce9
AgentIdentityBlueprint.Read.All                   26512dc8-1364-4e9f-867c-6d8b22a9e162 7547a7d1-36fa-4479-9c31-559a600eaa4f
AgentIdentityBlueprint.ReadWrite.All              4fd490fc-1467-48eb-8a4c-421597ab0402 7fddd33b-d884-4ec0-8696-72cff90ff825
AgentIdentityBlueprint.DeleteRestore.All          f12ba1f6-afb7-4685-9a30-21e8c3f551d8 3f80b699-6405-4e36-a4df-4f19950ff91e
AgentIdentityBlueprint.AddRemoveCreds.All         75b5feb2-bfe7-423f-907d-cc505186f246 0510736e-bdfb-4b37-9a1f-89b4a074763a
AgentIdentityBlueprint.UpdateBranding.All         60960e31-67cb-4d25-9d36-4922109923a2 76232daa-a1e4-4544-b664-495a006513bf
AgentIdentityBlueprintPrincipal.Create            00dcd896-6b23-42ce-b5de-c58493c05e22 8959696d-d07e-4916-9b1e-3ba9ce459161
AgentIdentityBlueprintPrincipal.Read.All          88c856a2-de61-4632-b2d4-ac503cbc8dd2 9361dea9-4524-493d-941d-f1b65aaf6c7c
AgentIdentityBlueprintPrincipal.ReadWrite.All     bf2cad6a-9082-438a-9a63-95fa2687af65 3bc933bc-8b4d-4cb6-ac49-b73774299250
AgentIdentityBlueprintPrincipal.DeleteRestore.All 2c70023e-a482-4af2-9ff1-51ded53e6bad f86a2dd8-9298-4675-bd78-f5a3572da2d7
AgentIdentityBlueprintPrincipal.EnableDisable.All e7475e0a-9f02-43e2-a250-5c2ea74ccd0e a0bdd23d-8b19-4682-b428-574d96527c6f
AgentIdentity.Read.All                            5e850691-d86a-4b24-bfa6-8a52fb37a0c1 b2b8f011-2898-4234-9092-5059f6c1ebfa
AgentIdentity.ReadWrite.All                       4a4facd5-0ee1-49b7-a5b2-fdcc2491685e dcf7150a-88d4-4fe6-9be1-c2744c455397
AgentIdentity.Create.All                          e75eeac6-d759-4ba3-ae5c-773a27efafba ad25cc1d-84d8-47df-a08e-b34c2e800819
AgentIdentity.CreateAsManager                     ccf6a395-80ad-41b3-ba11-27d4930eb7d0 4c390976-b2b7-42e0-9187-c6be3bead001
AgentIdentity.DeleteRestore.All                   c8ee41e5-35e7-4fe9-8ecb-93493adcac5b 5b016f9b-18eb-41d4-869a-66931914d1c8
AgentIdentity.EnableDisable.All                   a501206a-e364-4a3f-be6e-765806d0e323 69ee0943-4fa4-4ec8-8e52-d12e4ea661a3
AgentIdUser.ReadWrite.All                         ad57fb88-4658-4fd6-ab7d-e43184b08e4e b782c9ad-6f2b-4894-a21b-72bf22417f0a
AgentIdUser.ReadWrite.IdentityParentedBy          52a417d9-0b3c-4466-9a3b-66960de73d74 4aa6e624-eee0-40ab-bdd8-f9639038a614
Application.Read.All                              c79f8feb-a9db-4090-85f9-90d820caa0eb 9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30
Application.ReadWrite.All                         bdfbf15f-ee85-4955-8675-146e8e5296b5 1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9
Application.ReadWrite.OwnedBy                     -                                    18a4783c-866b-4cc7-a460-3d5e5662c884
AppRoleAssignment.ReadWrite.All                   84bccea3-f856-4a8a-967b-dbe0a3d53a64 06b708a9-e830-4db3-a914-8e69da51d44f
AuditLog.Read.All                                 e4c9e354-4dc5-45b8-9e7c-e1393b0b1a20 b0afded3-3588-46d8-8b3d-9842eff778da
DelegatedPermissionGrant.ReadWrite.All            41ce6ca6-6826-4807-84f1-1c82854f7ee5 8e8e4742-1d95-4f68-9d56-6ee75648c72a
Directory.AccessAsUser.All                        0e263e50-5827-48a4-b97c-d940288653c7 -
Directory.Read.All                                06da0dbc-49e2-44d2-8312-53f166ab848a 7ab1d382-f21e-4acd-a863-ba3e13f7da61
Directory.ReadWrite.All                           c5366453-9fb0-48a5-a156-24f0c49a4b84 19dbc75e-c2e2-444c-a770-ec69d8559fc7
Domain.Read.All                                   -                                    dbb9058a-0e50-45d7-ae91-66909b5d4664
Group.Create                                      -                                    bf7b1a76-6e77-406b-b258-bf5c7720e98f
Group.Read.All                                    5f8c59db-677d-491f-a6b8-5f174b11ec1d 5b567255-7703-4780-807c-7be8301ae99b
Group.ReadWrite.All                               4e46008b-f24c-477d-8fff-7bb4ec7aafe0 62a82d76-70ea-41e2-9197-370581804d09
GroupMember.Read.All                              -                                    98830695-27a2-44f7-8c18-0c3ebc9698f6
GroupMember.ReadWrite.All                         -                                    dbaae8cf-10b5-4b86-a4a1-f871c94c6695
LicenseAssignment.ReadWrite.All                   -                                    5facf0c1-8979-4e95-abcf-ff3d079771c0
Organization.Read.All                             4908d5b9-3fb2-4b1e-9336-1888b7937185 498476ce-e0fe-48b0-b801-37ba7e2685c6
Policy.Read.All                                   572fea84-0151-49b2-9301-11cb16974376 246dd0d5-5bd0-4def-940b-0421030a5b68
Policy.ReadWrite.ApplicationConfiguration         b27add92-efb2-4f16-84f5-8108ba77985c be74164b-cff1-491c-8741-e671cb536e13
Policy.ReadWrite.Authorization                    -                                    fb221be6-99f2-473f-bd32-01c6a0e9ca3b
RoleManagement.Read.Directory                     741c54c3-0c1e-44a1-818b-3f97ab4e8c83 483bed4a-2ad3-4361-a73b-c83ccdbdc53c
RoleManagement.ReadWrite.Directory                d01b97e9-cbc0-49fe-810a-750afd5527a3 9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8
User.Read                                         e1fe6dd8-ba31-4d61-89e7-88639da4683d -
User.Read.All                                     a154be20-db9c-4678-8ab7-66f6cc099a59 df021288-bdef-4463-88db-98f22de89214
User.ReadBasic.All                                b340eb25-3456-403f-be2f-af7a0d370277 -
User.ReadWrite.All                                204e0828-b5ca-4ad8-b9f3-f32a958e7cc4 741f803b-c850-494e-b5df-cde7c675a1ca
email                                             64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0 -
offline_access                                    7427e0e9-2fba-42fe-b0c0-848c9e6a8182 -
openid                                            37f7f235-527c-4136-accd-4a02d197296e -
profile                                           14dad69e-099b-42c9-810b-d002981feec1 -
`

func permissions() iter.Seq[permission] {
	return func(yield func(permission) bool) {
		for line := range strings.Lines(graphPermissions) {
			f := strings.Fields(line)
			if len(f) == 3 && !yield(permission{f[0], strings.Trim(f[1], "-"), strings.Trim(f[2], "-")}) {
				return
			}
		}
	}
}
