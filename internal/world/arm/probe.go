package arm

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// ProbeDelete asks, as the caller, to delete a resource that does not exist, and tells its id and the status of the answer: whoever may
// delete such resources is told 204 or 404, whoever may not 403 AuthorizationFailed, because ARM judges the right before it looks for the
// resource. It can do no harm: the name is drawn here, for this one request, from at least 110 random bits, and no caller can choose it.
//
// kind is Microsoft.ManagedIdentity/userAssignedIdentities or Microsoft.KeyVault/vaults. Every answer but 2xx is an error.
func (c *Client) ProbeDelete(ctx context.Context, group, kind string) (target string, status int, err error) {
	return c.probeDelete(ctx, group, kind, rand.Text)
}

func (c *Client) probeDelete(ctx context.Context, group, kind string, draw func() string) (target string, status int, err error) {
	op := "delete a resource of type " + kind + " that does not exist"
	s, err := role.ParseScope(group)
	if err != nil || s.Level != role.ResourceGroup || !agent.IsGUID(s.SubscriptionID) || strings.Contains(group, "/.") {
		return "", 0, fault.New(fault.Invalid, op+": not a resource group", "")
	}
	name, err := unheardOf(op, kind, draw)
	if err != nil {
		return "", 0, err
	}
	target = s.String() + "/providers/" + kind + "/" + name
	version, ok := apiVersion(kind)
	if !ok {
		return target, 0, fault.New(fault.Unsupported, op+": no api-version is known for it", "")
	}
	client, err := armresources.NewClient(s.SubscriptionID, c.credential, c.options)
	if err != nil {
		return target, 0, c.failed(ctx, op, target, err)
	}
	var answer *http.Response
	// The SDK would go on asking how a deletion goes that was accepted; there is nothing to wait for, so its poller is left alone.
	_, err = client.BeginDeleteByID(policy.WithCaptureResponse(ctx, &answer), strings.TrimPrefix(target, "/"), version, nil)
	if answer != nil && answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return target, answer.StatusCode, nil // also where the poller found its headers wanting: the right was there
	}
	if err != nil {
		err = c.failed(ctx, op, target, err)
	}
	if answer != nil {
		status = answer.StatusCode
	}
	return target, status, err
}

// probePrefix shows whoever reads the activity log where the refused request came from.
const probePrefix = "leastkey-probe-"

// unheardOf draws the name of a resource that nobody has. rand.Text gives 26 letters and digits of 5 bits each. A vault's name has at most
// 24, is the same in either case and begins with a letter (Microsoft, "Naming rules and restrictions for Azure resources"): 22 of them, 110
// bits, are behind its prefix. A draw that is short or hardly varies is not random, and nothing is sent.
func unheardOf(op, kind string, draw func() string) (string, error) {
	text := strings.ToLower(draw())
	different := map[rune]bool{}
	for _, r := range text {
		if (r < 'a' || r > 'z') && (r < '2' || r > '7') {
			return "", fault.New(fault.Refused, op+": the name drawn for it is no random text, and could be somebody's", "")
		}
		different[r] = true
	}
	if len(text) < 26 || len(different) < 8 {
		return "", fault.New(fault.Refused, op+": the name drawn for it could be somebody's", "")
	}
	switch strings.ToLower(kind) {
	case "microsoft.managedidentity/userassignedidentities":
		return probePrefix + text, nil
	case "microsoft.keyvault/vaults":
		return "lk" + text[:22], nil
	}
	return "", fault.New(fault.Invalid, op+": no probe is made for this type", "")
}
