package soak

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud"
)

// The programs of others leave what they make: each expects a cloud to itself. The sweeper removes it, and what a Go client has lost hold
// of on a bad day, so that objects go at the rate at which they come.

// shelf is where objects of one kind are found.
type shelf struct {
	list   string                        // URL
	remove func(id string) (m, u string) // method and URL
	key    func(o found) string          // what names one there
}

// found is an object as any of the services lists it.
type found struct {
	ID          string `json:"id"`
	KID         string `json:"kid"` // of a key
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
	Properties  struct {
		Description string `json:"description"`
	} `json:"properties"`
}

// made tells when one of ours was made; false for what is not ours.
func (o found) made() (time.Time, bool) {
	for _, n := range []string{o.DisplayName, o.Name, o.Properties.Description, last(o.ID), last(o.KID)} {
		if rest, is := strings.CutPrefix(n, ours); is {
			second, _, _ := strings.Cut(rest, "-")
			n, err := strconv.ParseInt(second, 10, 64)
			return time.Unix(n, 0), err == nil
		}
	}
	return time.Time{}, false
}

func last(path string) string { return path[strings.LastIndex(path, "/")+1:] }

// shelves are in the order in which things go: what hangs on others first.
func (p *program) shelves() (all []shelf) {
	graph, arm, vault := p.run.Endpoints.Graph+"/v1.0/", p.run.Endpoints.ARM, p.run.Endpoints.Vault[localcloud.DefaultVault]
	sub := arm + "/subscriptions/" + p.run.SubscriptionID
	byID := func(o found) string { return o.ID }
	add := func(list, at, version string) {
		all = append(all, shelf{list, func(id string) (string, string) { return http.MethodDelete, at + id + version }, byID})
	}
	add(sub+"/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01", arm, "?api-version=2022-04-01")
	add(sub+"/providers/Microsoft.Authorization/roleDefinitions?api-version=2022-04-01&$filter=type%20eq%20%27CustomRole%27", arm, "?api-version=2022-04-01")
	add(sub+"/resourcegroups?api-version=2022-09-01", arm, "?api-version=2022-09-01")
	all = append(all, shelf{sub + "/providers/Microsoft.KeyVault/deletedVaults?api-version=2022-07-01", func(id string) (string, string) {
		return http.MethodPost, arm + id + "/purge?api-version=2022-07-01"
	}, byID})
	for _, kind := range []string{"applications", "servicePrincipals"} {
		add(graph+kind+"?$select=id,displayName", graph+kind+"/", "")
	}
	for _, kind := range []string{"application", "servicePrincipal"} {
		add(graph+"directory/deletedItems/microsoft.graph."+kind+"?$select=id,displayName", graph+"directory/deletedItems/", "")
	}
	for _, kind := range []string{"certificates", "keys", "secrets"} {
		for _, state := range []string{"", "deleted"} {
			all = append(all, shelf{vault + "/" + state + kind + "?api-version=7.5",
				func(id string) (string, string) {
					return http.MethodDelete, vault + "/" + state + kind + "/" + id + "?api-version=7.5"
				},
				func(o found) string { return last(o.ID + o.KID) }})
		}
	}
	return all
}

// each lists a shelf.
func (p *program) each(ctx context.Context, s shelf, do func(o found) error) error {
	for next := s.list; next != ""; {
		var page struct {
			Value   []found `json:"value"`
			Next    string  `json:"nextLink"`
			NextToo string  `json:"@odata.nextLink"`
		}
		if err := p.settles(ctx, func() error { return p.ask(ctx, p.audience(next), http.MethodGet, next, nil, &page) }); err != nil {
			return fmt.Errorf("%s: %w", s.list, err)
		}
		for _, o := range page.Value {
			if err := do(o); err != nil {
				return err
			}
		}
		next = page.Next + page.NextToo
	}
	return nil
}

// audience is whom a token is for that opens the URL.
func (p *program) audience(url string) string {
	for _, a := range []string{p.run.Endpoints.Graph, p.run.Endpoints.ARM} {
		if strings.HasPrefix(url, a+"/") {
			return a
		}
	}
	return "https://vault.azure.net"
}

// inventory remembers what was there before the clients.
func (s *soak) inventory() {
	s.sweeper, s.kept = s.program(), map[string]bool{}
	for _, shelf := range s.sweeper.shelves() {
		s.must(s.sweeper.each(s.Context(), shelf, func(o found) error { s.kept[shelf.key(o)] = true; return nil }))
	}
}

// sweep removes what is not of the inventory; of the Go clients' own only what they made before the moment.
func (s *soak) sweep(ctx context.Context, before time.Time) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	p := s.sweeper
	for _, shelf := range p.shelves() {
		err := p.each(ctx, shelf, func(o found) error {
			if at, is := o.made(); s.kept[shelf.key(o)] || is && !at.Before(before) {
				return nil
			}
			method, url := shelf.remove(shelf.key(o))
			return p.settles(ctx, func() error { return p.ask(ctx, p.audience(url), method, url, nil, nil) })
		})
		if err != nil && ctx.Err() == nil {
			s.Logf("sweep: %.300s", err.Error())
		}
	}
}
