package dnsprovider

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/libdns/libdns"
)

// errNoZone is a zone that the account does not have.
var errNoZone = errors.New("the account has no such zone")

const (
	syncEvery = 2 * time.Second // Route 53 takes five questions a second
	syncFor   = time.Minute
	maxText   = 255 // bytes of one string of a TXT record (RFC 1035 §3.3.14)
)

// amazon changes records of zones at Route 53. It is made of the keys in the
// settings and of nothing else. The usual way to make such a client reads the
// machine's AWS variables and files first, whatever keys it was given, and the
// libdns module for Route 53 ends the process where one of them is malformed: a
// profile that does not exist, a broken ~/.aws/config, AWS_CA_BUNDLE without a
// file, a number that is none.
type amazon struct {
	api    *route53.Client
	zoneID string // empty: found by the zone's name
	wait   bool
	every  time.Duration // between questions whether a change is everywhere
	turn   chan struct{} // one reads and writes at a time
}

type route53Settings struct {
	key, secret, session, region, zoneID, base string

	http  *http.Client
	wait  bool
	every time.Duration
}

func newRoute53(s route53Settings) *amazon {
	o := route53.Options{
		Region: s.region, HTTPClient: s.http, RetryMaxAttempts: 4,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s.key, SecretAccessKey: s.secret, SessionToken: s.session, Source: "settings"}, nil
		}),
	}
	if s.base != "" {
		o.BaseEndpoint = aws.String(s.base)
	}
	return &amazon{api: route53.New(o), zoneID: s.zoneID, wait: s.wait, every: s.every, turn: make(chan struct{}, 1)}
}

// GetRecords lists a zone. An alias of Amazon's own kind, which has no value,
// has its target as one.
func (p *amazon) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	id, err := p.id(ctx, zone)
	if err != nil {
		return nil, err
	}
	var out []libdns.Record
	its := false // an id in the settings may be another zone's
	err = p.each(ctx, id, &route53.ListResourceRecordSetsInput{}, func(set types.ResourceRecordSet) bool {
		its = its || set.Type == types.RRTypeSoa && nameOf(set) == plainName(zone)
		for _, v := range values(set) {
			out = append(out, libdns.RR{
				Name: libdns.RelativeName(nameOf(set), zone), Type: string(set.Type), Data: v,
				TTL: time.Duration(aws.ToInt64(set.TTL)) * time.Second,
			})
		}
		return true
	})
	if err == nil && !its {
		err = errNoZone
	}
	return out, err
}

// AppendRecords adds to what is there. A set of records that somebody else made
// in the meantime is never written over where there was none before.
func (p *amazon) AppendRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	return list, p.change(ctx, zone, list, p.wait, func(name string, kind types.RRType, have []types.ResourceRecordSet, group []libdns.RR) ([]types.Change, error) {
		set := types.ResourceRecordSet{Name: aws.String(name), Type: kind, TTL: aws.Int64(int64(group[0].TTL.Seconds()))}
		action := types.ChangeActionCreate
		if len(have) > 0 {
			if len(have) > 1 || have[0].SetIdentifier != nil || have[0].AliasTarget != nil {
				return nil, fmt.Errorf("%s of %s is an alias or has a routing policy", kind, name)
			}
			set, action = have[0], types.ChangeActionUpsert
		}
		for _, rr := range group {
			if v := written(rr); !slices.ContainsFunc(set.ResourceRecords, func(r types.ResourceRecord) bool { return aws.ToString(r.Value) == v }) {
				set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: aws.String(v)})
			}
		}
		return []types.Change{{Action: action, ResourceRecordSet: &set}}, nil
	})
}

// DeleteRecords takes values away. What is not there is no error.
func (p *amazon) DeleteRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	return list, p.change(ctx, zone, list, false, func(_ string, _ types.RRType, have []types.ResourceRecordSet, group []libdns.RR) ([]types.Change, error) {
		var out []types.Change
		for _, set := range have {
			gone := func(v string) bool {
				return slices.ContainsFunc(group, func(rr libdns.RR) bool { return rr.Data == v || written(rr) == v })
			}
			all := values(set)
			left := slices.DeleteFunc(slices.Clone(all), gone)
			switch {
			case len(left) == len(all):
			case len(left) == 0:
				out = append(out, types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: &set})
			default:
				set.ResourceRecords = nil
				for _, v := range left {
					set.ResourceRecords = append(set.ResourceRecords, types.ResourceRecord{Value: aws.String(v)})
				}
				out = append(out, types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: &set})
			}
		}
		return out, nil
	})
}

// edit says which changes make of the sets of one name and type what is wanted.
type edit func(name string, kind types.RRType, have []types.ResourceRecordSet, group []libdns.RR) ([]types.Change, error)

// change does the edits of all names and types in one batch, which Route 53
// does whole or not at all.
func (p *amazon) change(ctx context.Context, zone string, list []libdns.Record, wait bool, e edit) error {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	sent, err := p.send(ctx, zone, list, e)
	<-p.turn
	if err != nil || sent == nil || !wait {
		return err
	}
	return p.synced(ctx, sent)
}

func (p *amazon) send(ctx context.Context, zone string, list []libdns.Record, e edit) (*types.ChangeInfo, error) {
	id, err := p.id(ctx, zone)
	if err != nil {
		return nil, err
	}
	type key struct{ name, kind string }
	groups := map[key][]libdns.RR{}
	var order []key
	for _, r := range list {
		rr := r.RR()
		k := key{plainName(libdns.AbsoluteName(rr.Name, zone)), rr.Type}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], rr)
	}
	batch := &types.ChangeBatch{}
	for _, k := range order {
		have, err := p.sets(ctx, id, k.name, types.RRType(k.kind))
		if err != nil {
			return nil, err
		}
		changes, err := e(k.name, types.RRType(k.kind), have, groups[k])
		if err != nil {
			return nil, err
		}
		batch.Changes = append(batch.Changes, changes...)
	}
	if len(batch.Changes) == 0 {
		return nil, nil
	}
	out, err := p.api.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{HostedZoneId: aws.String(id), ChangeBatch: batch})
	if err != nil {
		return nil, err
	}
	return out.ChangeInfo, nil
}

// synced waits until all of Route 53's servers have a change.
func (p *amazon) synced(ctx context.Context, c *types.ChangeInfo) error {
	ctx, cancel := context.WithTimeout(ctx, syncFor)
	defer cancel()
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for status := c.Status; status != types.ChangeStatusInsync; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for Route 53 to spread a change: %w", ctx.Err())
		case <-tick.C:
		}
		out, err := p.api.GetChange(ctx, &route53.GetChangeInput{Id: c.Id})
		if err != nil {
			return err
		}
		if out.ChangeInfo != nil {
			status = out.ChangeInfo.Status
		}
	}
	return nil
}

// id finds the hosted zone of a zone's name: the public one where there are two.
func (p *amazon) id(ctx context.Context, zone string) (string, error) {
	if p.zoneID != "" {
		return p.zoneID, nil
	}
	out, err := p.api.ListHostedZonesByName(ctx, &route53.ListHostedZonesByNameInput{DNSName: aws.String(zone)})
	if err != nil {
		return "", err
	}
	found := ""
	for _, z := range out.HostedZones {
		if !strings.EqualFold(strings.TrimSuffix(aws.ToString(z.Name), "."), strings.TrimSuffix(zone, ".")) {
			continue
		}
		if z.Config == nil || !z.Config.PrivateZone {
			return aws.ToString(z.Id), nil
		}
		found = aws.ToString(z.Id)
	}
	if found == "" {
		return "", errNoZone
	}
	return found, nil
}

// sets returns the sets of one name and type: several where a routing policy
// chooses between them.
func (p *amazon) sets(ctx context.Context, id, name string, kind types.RRType) ([]types.ResourceRecordSet, error) {
	var out []types.ResourceRecordSet
	// Lists begin at a name and go on with what comes after it.
	err := p.each(ctx, id, &route53.ListResourceRecordSetsInput{StartRecordName: aws.String(name), StartRecordType: kind},
		func(set types.ResourceRecordSet) bool {
			if nameOf(set) != name || set.Type != kind {
				return false
			}
			out = append(out, set)
			return true
		})
	return out, err
}

// each goes through a zone from where in begins, until fn has enough.
func (p *amazon) each(ctx context.Context, id string, in *route53.ListResourceRecordSetsInput, fn func(types.ResourceRecordSet) bool) error {
	in.HostedZoneId = aws.String(id)
	for {
		out, err := p.api.ListResourceRecordSets(ctx, in)
		if err != nil {
			return err
		}
		for _, set := range out.ResourceRecordSets {
			if !fn(set) {
				return nil
			}
		}
		if !out.IsTruncated || out.NextRecordName == nil {
			return nil
		}
		in.StartRecordName, in.StartRecordType, in.StartRecordIdentifier = out.NextRecordName, out.NextRecordType, out.NextRecordIdentifier
	}
}

// nameOf is a set's whole name.
func nameOf(set types.ResourceRecordSet) string { return plainName(aws.ToString(set.Name)) }

// plainName writes a name as Route 53 does, but for the asterisk, which it
// escapes.
func plainName(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, ".")) + "."
	return strings.Replace(name, `\052`, "*", 1)
}

func values(set types.ResourceRecordSet) []string {
	if set.AliasTarget != nil {
		return []string{aws.ToString(set.AliasTarget.DNSName)}
	}
	var out []string
	for _, r := range set.ResourceRecords {
		out = append(out, aws.ToString(r.Value))
	}
	return out
}

// written is a record's value as Route 53 takes it: text in quotes, in parts.
func written(rr libdns.RR) string {
	if rr.Type != "TXT" {
		return rr.Data
	}
	text, parts := rr.Data, []string(nil)
	for {
		part := text[:min(len(text), maxText)]
		parts = append(parts, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(part)+`"`)
		if text = text[len(part):]; text == "" {
			return strings.Join(parts, " ")
		}
	}
}
