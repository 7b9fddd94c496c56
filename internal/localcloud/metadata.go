package localcloud

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// cloudName is what az and others call this cloud.
const cloudName = "LeastkeyLocal"

// withMetadata puts the cloud metadata document in front of ARM: it needs no token, because clients read it to learn where to get one
// (az with ARM_CLOUD_METADATA_URL, Terraform's providers).
func withMetadata(c *Cloud, arm http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.EqualFold(strings.TrimRight(r.URL.Path, "/"), "/metadata/endpoints") {
			arm.ServeHTTP(w, r)
			return
		}
		doc := metadata(c.Endpoints())
		if v := r.URL.Query().Get("api-version"); v != "" && v < "2022-09-01" { // older versions answer with a list of clouds
			service.JSON(w, http.StatusOK, []any{doc})
			return
		}
		service.JSON(w, http.StatusOK, doc)
	})
}

// metadata is the document in the form of api-version 2022-09-01.
func metadata(e service.Endpoints) map[string]any {
	arm, graph := e.ARM+"/", e.Graph+"/"
	return map[string]any{
		"name": cloudName, "portal": e.Login,
		"authentication": map[string]any{
			// The AD FS form keeps clients from asking a public endpoint whether they may trust this one.
			"loginEndpoint": e.Login + "/adfs", "audiences": []string{arm}, "tenant": "adfs", "identityProvider": "ADFS",
		},
		"resourceManager": arm, "gallery": arm, "graph": graph, "graphAudience": graph, "microsoftGraphResourceId": graph,
		"sqlManagement": arm, "batch": arm, "media": arm, "activeDirectoryDataLake": arm, "vmImageAliasDoc": arm + "metadata/aliases.json",
		"suffixes": map[string]string{"keyVaultDns": strings.TrimPrefix(vaultDNS(e), "."), "storage": "storage.leastkey.test"},
	}
}

// vaultDNS is the suffix that az puts behind a vault's name. It names one port, at which the host tells the vault.
func vaultDNS(e service.Endpoints) string {
	u, err := url.Parse(e.Vault[DefaultVault])
	if err != nil || u.Port() == "" {
		return vaultSuffix
	}
	return namedSuffix + ":" + u.Port()
}
