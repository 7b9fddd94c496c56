package vault

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// pageLimit is the largest page, and the default (Microsoft, Get Secrets: maxresults 1 to 25).
const pageLimit = 25

// page answers with the items after $skiptoken, which holds the last key shown. keys are in order.
func (s *Service) page(c *call, keys []string, items map[string]object) reply {
	listing := "page\n" + incarnationOf(c.vault) + "\n" + strings.ToLower(strings.Join(c.path, "/"))
	limit := pageLimit
	if text := c.query.Get("maxresults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > pageLimit {
			return badParameter("The request URI contains an invalid maxresults: it must be between 1 and %d.", pageLimit)
		}
		limit = n
	}
	if token := c.query.Get("$skiptoken"); token != "" {
		last, given := s.unseal(token, listing)
		if !given {
			return badParameter("The request URI contains an invalid $skiptoken.")
		}
		i, exact := slices.BinarySearch(keys, string(last))
		if exact {
			i++
		}
		keys = keys[i:]
	}
	body := object{"nextLink": nil}
	if len(keys) > limit {
		keys = keys[:limit]
		next := url.Values{"api-version": {c.query.Get("api-version")}, "$skiptoken": {s.seal([]byte(keys[limit-1]), listing)}, "maxresults": {strconv.Itoa(limit)}}
		body["nextLink"] = c.base + "/" + strings.Join(c.path, "/") + "?" + next.Encode()
	}
	page := make([]object, len(keys))
	for i, k := range keys {
		page[i] = items[k]
	}
	body["value"] = page
	return ok(body)
}
