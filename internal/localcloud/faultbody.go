package localcloud

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// Names of the planes, as the request log gives them.
const (
	planeLogin = "login"
	planeGraph = "graph"
	planeARM   = "arm"
	planeVault = "vault"

	planeIdentity = "identity" // the managed-identity endpoints
)

// refuse answers a throttled or failed request in the words of the plane.
func refuse(w http.ResponseWriter, r *http.Request, plane string, f fault, now time.Time, id string) {
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((f.retryAfter+time.Second-1)/time.Second)))
	}
	switch plane {
	case planeLogin:
		refuseLogin(w, r, f, now, id)
	case planeGraph:
		refuseGraph(w, r, f, now, id)
	case planeVault:
		refuseVault(w, f, id)
	case planeIdentity:
		refuseIdentity(w, f, id)
	default:
		refuseARM(w, f, id)
	}
}

// refuseLogin speaks as the token endpoint does; the codes are of Microsoft's list of AADSTS errors: 90055 is throttling of the
// tenant, 90033 a transient fault of the directory behind it.
func refuseLogin(w http.ResponseWriter, r *http.Request, f fault, now time.Time, id string) {
	code, text := 90033, "A transient error has occurred. Please try again."
	if f.status == http.StatusTooManyRequests {
		code, text = 90055, "The tenant has too many requests."
	}
	correlation := r.Header.Get("client-request-id")
	if correlation == "" {
		correlation = id
	}
	stamp := now.UTC().Format("2006-01-02 15:04:05Z")
	w.Header().Set("x-ms-request-id", id)
	service.JSON(w, f.status, map[string]any{
		"error":             "temporarily_unavailable",
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", code, text, id, correlation, stamp),
		"error_codes":       []int{code}, "timestamp": stamp, "trace_id": id, "correlation_id": correlation,
	})
}

// refuseGraph: see Microsoft Graph, "Throttling guidance" and "Error responses and resource types".
func refuseGraph(w http.ResponseWriter, r *http.Request, f fault, now time.Time, id string) {
	code, text := "TooManyRequests", "Too many requests"
	switch f.status {
	case http.StatusInternalServerError:
		code, text = "InternalServerError", "An error occurred while processing the request."
	case http.StatusBadGateway:
		code, text = "UnknownError", "Bad gateway"
	case http.StatusServiceUnavailable:
		code, text = "ServiceUnavailable", "The service is temporarily unavailable."
	case http.StatusGatewayTimeout:
		code, text = "UnknownError", "Gateway timeout"
	}
	client := r.Header.Get("client-request-id")
	if client == "" {
		client = id
	}
	w.Header().Set("request-id", id)
	w.Header().Set("client-request-id", client)
	service.JSON(w, f.status, map[string]any{"error": map[string]any{
		"code": code, "message": text,
		"innerError": map[string]any{"date": now.UTC().Format("2006-01-02T15:04:05"), "request-id": id, "client-request-id": client},
	}})
}

// refuseARM: see Azure Resource Manager, "Understand how Azure Resource Manager throttles requests".
func refuseARM(w http.ResponseWriter, f fault, id string) {
	code, text := "SubscriptionRequestsThrottled", "Number of requests for subscription exceeded the limit. Please try again later."
	switch f.status {
	case http.StatusTooManyRequests:
		if f.retryAfter == 0 {
			code, text = "TooManyRequests", "Too many requests. Please try again later."
		}
	case http.StatusInternalServerError:
		code, text = "InternalServerError", "Encountered internal server error."
	case http.StatusBadGateway:
		code, text = "BadGateway", "The resource provider returned an invalid answer."
	case http.StatusServiceUnavailable:
		code, text = "ServerTimeout", "The request timed out."
	case http.StatusGatewayTimeout:
		code, text = "GatewayTimeout", "The gateway did not receive a response from the resource provider within the specified time period."
	}
	w.Header().Set("x-ms-request-id", id)
	service.JSON(w, f.status, map[string]any{"error": map[string]any{"code": code, "message": text}})
}

// refuseVault: see Azure Key Vault REST API error codes.
func refuseVault(w http.ResponseWriter, f fault, id string) {
	code, text := "Throttled", "Request was not processed because too many requests were received."
	if f.status != http.StatusTooManyRequests {
		code, text = "InternalServerError", "An internal error occurred. Please try again later."
	}
	w.Header().Set("x-ms-request-id", id)
	service.JSON(w, f.status, map[string]any{"error": map[string]any{"code": code, "message": text}})
}

// refuseIdentity: see "How to use managed identities for Azure resources on an Azure VM to acquire an access token", "Error handling".
// The members of App Service's errors stand beside those of IMDS.
func refuseIdentity(w http.ResponseWriter, f fault, id string) {
	code, text := "too_many_requests", "Too many requests"
	if f.status != http.StatusTooManyRequests {
		code, text = "unknown", "Failed to retrieve token from the Active directory."
	}
	w.Header().Set("x-ms-request-id", id)
	service.JSON(w, f.status, map[string]any{"error": code, "error_description": text, "statusCode": f.status, "message": text})
}
