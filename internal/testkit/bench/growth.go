package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
)

// each application has so many role assignments.
const each = 4

// roles are what an application is assigned: Reader, Contributor, Key Vault Secrets User and AcrPull, as the triple must differ.
var roles = [each]string{"acdd72a7-3385-48ef-bd42-f606fba81ae7", "b24988ac-6180-42a0-ab88-20f7382dd24c", "4633458b-17de-408a-b874-0445c86b69e6", "7f951dda-4ed3-4680-a7ca-43fe172d538d"}

// perSubscription is how many a subscription holds, less those that are there from the beginning.
const perSubscription = 3900

// filler makes applications, their service principals and their role assignments.
type filler struct {
	cloud *localcloud.Cloud
	admin *cloudview.Cloud
	first made // that everything else is unrelated to; its assignments are in the first subscription
}

type made struct {
	ID          string `json:"id"`
	AppID       string `json:"appId"`
	DisplayName string `json:"displayName"`
	principal   string
}

// fill makes applications until there are as many, in process and on every core. assignments is how many each gets.
func (f *filler) fill(ctx context.Context, many, assignments int) error {
	// Alone, so that the tokens are there before many ask for them.
	if _, err := f.admin.GraphToken(ctx); err != nil {
		return err
	}
	if _, err := f.admin.AzureToken(ctx); err != nil {
		return err
	}
	var err error
	if f.first, err = f.one(ctx, "the-one-that-is-looked-for", f.cloud.SubscriptionID(), assignments); err != nil {
		return err
	}
	var next atomic.Int64
	next.Store(1)
	var wg sync.WaitGroup
	errs := make([]error, runtime.NumCPU())
	for i := range errs {
		wg.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1) - 1)
				if n >= many {
					return
				}
				subscription := f.cloud.SubscriptionID()
				if assignments > 0 {
					subscription = f.cloud.Subscriptions()[1+n*each/perSubscription]
				}
				_, errs[i] = f.one(ctx, fmt.Sprintf("unrelated-%05d", n), subscription, assignments)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (f *filler) one(ctx context.Context, name, subscription string, assignments int) (m made, err error) {
	if _, err := f.admin.Call(ctx, http.MethodPost, "/v1.0/applications", map[string]any{"displayName": name, "signInAudience": "AzureADMyOrg"}, &m); err != nil {
		return m, err
	}
	var sp made
	if _, err := f.admin.Call(ctx, http.MethodPost, "/v1.0/servicePrincipals", map[string]any{"appId": m.AppID}, &sp); err != nil {
		return m, err
	}
	m.principal = sp.ID
	for i := range assignments {
		path := "/subscriptions/" + subscription + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString() + "?api-version=2022-04-01"
		if _, err := f.admin.Call(ctx, http.MethodPut, path, json.RawMessage(assignment(subscription, i, sp.ID)), nil); err != nil {
			return m, err
		}
	}
	return m, nil
}

func assignment(subscription string, role int, principal string) string {
	return `{"properties":{"roleDefinitionId":"/subscriptions/` + subscription + `/providers/Microsoft.Authorization/roleDefinitions/` + roles[role] + `","principalId":"` + principal + `","principalType":"ServicePrincipal"}}`
}

// growth measures what a cloud takes that is full, and whether looking for one thing costs more in it than in one that is nearly empty.
func (b bench) growth(ctx context.Context, t table) error {
	small, err := b.filled(ctx, b.few)
	if err != nil {
		return err
	}
	defer small.cloud.Close()
	before, began := settled(), time.Now()
	big, err := b.filled(ctx, b.many)
	if err != nil {
		return err
	}
	defer big.cloud.Close()
	took, after := time.Since(began), settled()
	resident := "not known here"
	if n := residentBytes(); n > 0 {
		resident = fmt.Sprintf("%.0f MB", float64(n)/1e6)
	}
	t.row(fmt.Sprintf("memory: %d applications, %d assignments", b.many, each*b.many), fmt.Sprintf("heap %.0f MB, process %s, made in %.1f s", float64(after-before)/1e6, resident, took.Seconds()), "(reported)")
	few, many := small.listings(ctx), big.listings(ctx)
	for i, l := range many {
		least, most, err := beside(few[i].ask, l.ask)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		t.row(l.name, fmt.Sprintf("%s beside %d, %s beside %d = %.2f ×", micros(least), b.few, micros(most), b.many, float64(most)/float64(least)), "≤ 2 ×")
	}
	return nil
}

// filled is a cloud with as many applications.
func (b bench) filled(ctx context.Context, many int) (*filler, error) {
	cloud, err := localcloud.New(localcloud.Config{Further: 1 + many*each/perSubscription})
	if err != nil {
		return nil, err
	}
	f := &filler{cloud: cloud, admin: admin(cloud)}
	if err := f.fill(ctx, many, each); err != nil {
		return nil, errors.Join(err, cloud.Close())
	}
	return f, nil
}

// settled is the heap after two collections, the second of which takes what the first has finalized.
func settled() int64 {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// listing is one request.
type listing struct {
	name string
	ask  func() error
}

func query(name, value string) string {
	return strings.ReplaceAll(url.Values{name: {value}}.Encode(), "%24", "$")
}

// listings looks for the first application and its role assignments, in process: what is measured is the cloud. Each must find exactly
// what there is.
func (f *filler) listings(ctx context.Context) (all []listing) {
	arm := "/subscriptions/" + f.cloud.SubscriptionID() + "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&"
	group := strings.Replace(arm, "/providers/", "/resourceGroups/"+localcloud.DefaultGroup+"/providers/", 1)
	apps := "/v1.0/applications?"
	for _, l := range []struct {
		name, path string
		want       int // -1: whatever the seed has
	}{
		{"Graph list, appId eq", apps + query("$filter", "appId eq '"+f.first.AppID+"'"), 1},
		{"Graph list, displayName eq", apps + query("$filter", "displayName eq '"+f.first.DisplayName+"'"), 1},
		{"Graph list, startswith", apps + query("$filter", "startswith(displayName,'the-one-that')"), 1},
		{"role assignments of a principal", arm + query("$filter", "principalId eq '"+f.first.principal+"'"), each},
		{"role assignments at a scope", group + query("$filter", "atScope()"), -1},
		{"role assignments at a scope and below", group[:len(group)-1], -1},
	} {
		all = append(all, listing{l.name, func() error {
			var got struct{ Value []json.RawMessage }
			if _, err := f.admin.Call(ctx, http.MethodGet, l.path, nil, &got); err != nil {
				return err
			}
			if l.want >= 0 && len(got.Value) != l.want {
				return fmt.Errorf("%s finds %d, not %d", l.path, len(got.Value), l.want)
			}
			return nil
		}})
	}
	return all
}

// beside is how long one call takes of either. They take turns, and the fastest turn counts: what others do on the machine, and the
// collector of garbage, only ever make one slower.
func beside(f, g func() error) (one, other time.Duration, err error) {
	const turns, calls = 30, 50
	turn := func(f func() error, best time.Duration) (time.Duration, error) {
		began := time.Now()
		for range calls {
			if err := f(); err != nil {
				return 0, err
			}
		}
		if took := time.Since(began) / calls; best == 0 || took < best {
			best = took
		}
		return best, nil
	}
	for range turns {
		if one, err = turn(f, one); err != nil {
			return 0, 0, err
		}
		if other, err = turn(g, other); err != nil {
			return 0, 0, err
		}
	}
	return one, other, nil
}

func micros(d time.Duration) string { return fmt.Sprintf("%d µs", d.Microseconds()) }

// residentBytes is the memory of this process that is in use, 0 where it is not known (proc(5), statm).
func residentBytes() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}
