import { h, top, follow, nothing, glyph, pct, odds, ago, param, tag } from './ui.js'
import { stairs, pair, gauge } from './chart.js'

top([['Canaries', null]])
// What needs somebody comes first.
const STATES = [['failed', 'Rolled back', 'nothing released since'], ['trouble', 'Needs somebody', 'something must be put right'], ['held', 'Held', 'nothing advances until more is known'], ['gate', 'Waiting', 'for approval'], ['running', 'Releasing', 'on its way'], ['starting', 'Starting', 'pods are not ready yet'], ['suspended', 'Suspended', 'spec.suspend is set'], ['rest', 'At rest', 'nothing to release']]
const RANK = Object.fromEntries(STATES.map(([k], i) => [k, i]))
const TITLE = Object.fromEntries(STATES.map(([k, t]) => [k, t]))
const FEW = 30    // what is at rest is not why anybody comes; the rest of it is one press away

// -- what is known: one entry a canary, its row made anew only when it has changed
const known = new Map()
let sequence = null, ahead = 0, picked = new Set(), whole = false
const now = () => Date.now() + ahead
const main = document.getElementById('main')
const box = h('input', { type: 'search', placeholder: 'Filter, as shop/ or >30', 'aria-label': 'Filter canaries, by words or by weight', value: param('q') ?? '' })
const group = h('select', { 'aria-label': 'Group by' }, h('option', { value: 'state' }, 'by state'), h('option', { value: 'ns' }, 'by namespace'), h('option', { value: 'phase' }, 'by phase'), h('option', { value: '' }, 'not grouped'))
const sort = h('select', { 'aria-label': 'Order' }, h('option', { value: 'since' }, 'longest first'), h('option', { value: 'evidence' }, 'most evidence first'), h('option', { value: 'name' }, 'by name'))
if (param('group') !== null) group.value = param('group')
const picks = h('div', { class: 'picks', role: 'group', 'aria-label': 'States' })
const found = h('span', { class: 'soft end', role: 'status' })
const HEAD = [['State', 'first'], ['Canary', ''], ['For', 'num'], ['Version', 'wide'], ['Weight', 'num'], ['Steps', 'wide'], ['Errors', 'num'], ['Primary', 'num wide'], ['Both rates', 'wide'], ['Evidence', 'wide'], ['Says', '']]
const table = h('table', { class: 'dense stackt fleet' }, h('thead', {}, h('tr', {}, HEAD.map(([t, c], i) => h('th', { scope: 'col', class: c || null }, i === 0 ? h('span', { class: 'hide' }, t) : t)))))
const body = h('div', { class: 'panel' }, table)
const none = h('div', { class: 'skel small', hidden: true }, h('div', {}, h('h2', {}, 'No canary fits this filter'), h('p', {}, h('button', { type: 'button', onclick: () => { box.value = ''; picked = new Set(); draw() } }, 'Show all'))))

function makeRow(c) {
  const w = c.underWay, bad = list => list?.length ? pct(list.at(-1)) : ''
  return h('tr', { class: w ? null : 'rest' },
    h('td', {}, glyph(c.state, TITLE[c.state])),
    h('th', { scope: 'row', class: 'nowrap' }, h('a', { href: `release?c=${encodeURIComponent(`${c.ns}/${c.name}`)}` }, h('span', { class: 'soft' }, `${c.ns} / `), c.name)),
    h('td', { class: 'nowrap num for' }),
    h('td', { class: 'nowrap wide' }, h('span', { class: c.new ? 'old' : null }, tag(c.old)), c.new && c.new !== c.old ? [h('span', { class: 'arrow', 'aria-label': 'to' }, '→'), h('span', { class: 'new' }, tag(c.new))] : null),
    h('td', { class: 'num', 'data-l': w ? 'weight' : null }, w ? `${c.weight} %` : ''),
    h('td', { class: 'wide' }, w?.steps.length ? stairs(w.weights, w.steps, c.state !== 'failed') : null),
    h('td', { class: 'num', 'data-l': w?.canary.length ? 'errors' : null }, h('span', { class: 'new' }, bad(w?.canary))),
    h('td', { class: 'num wide' }, h('span', { class: 'old' }, bad(w?.primary))),
    h('td', { class: 'wide' }, w?.canary.length ? pair(w.canary, w.primary, w.slo) : null),
    h('td', { class: 'wide' }, w?.logEvidence !== undefined ? h('span', { title: odds(w.logEvidence) }, gauge(w.logEvidence, w.logLimit), h('span', { class: 'hide' }, odds(w.logEvidence))) : null),
    h('td', { class: 'say' }, c.text))
}

function take(feed) {
  if (feed.trouble && !known.size) return refused(feed.trouble)
  if (!feed.listed) return
  ahead = feed.now - Date.now(); sequence = feed.sequence
  if (feed.whole) { const there = new Set(feed.canaries.map(c => `${c.ns}/${c.name}`)); for (const key of known.keys()) if (!there.has(key)) known.delete(key) }
  feed.gone.forEach(key => known.delete(key))
  for (const c of feed.canaries) {
    const key = `${c.ns}/${c.name}`, text = JSON.stringify(c), before = known.get(key)
    if (before?.text !== text) known.set(key, { c, text, words: `${key} ${c.old} ${c.new} ${c.phase ?? ''} ${c.code}`.toLowerCase(), row: null, old: before?.row })
  }
  if (!known.size) return nothing('Nothing to show yet', feed.namespace ? `There is no Canary in the namespace ${feed.namespace}.` : 'There is no Canary in this cluster. Try a release without touching one:', 'serin demo')
  if (!body.isConnected) main.replaceChildren(h('h1', { class: 'hide' }, 'All canaries'), h('div', { class: 'bar', role: 'search' }, box, picks, group, sort, found), body, none)
  if (feed.whole || feed.canaries.length || feed.gone.length) draw()
  return feed.trouble ? 'the cluster does not answer' : null
}

function refused(why) {
  const forbidden = why.includes('forbidden')
  nothing(forbidden ? 'You may not read this' : 'The cluster does not answer', `${why}${/[.!]$/.test(why) ? '' : '.'} Releases go on without this page.`, forbidden ? 'kubectl auth can-i list canaries.flagger.app -A' : 'kubectl get canaries -A')
}

const fits = ({ c, words }) => (!picked.size || picked.has(c.state)) && box.value.toLowerCase().split(/\s+/).filter(w => w && w !== '%').every(w => w.startsWith('>') ? c.weight > parseFloat(w.slice(1)) : words.includes(w))
const ORDER = { since: (a, b) => (a.c.since ?? 0) - (b.c.since ?? 0), evidence: (a, b) => (b.c.underWay?.logEvidence ?? -9) - (a.c.underWay?.logEvidence ?? -9), name: (a, b) => a.words < b.words ? -1 : 1 }
const PART = { state: e => e.c.state, ns: e => e.c.ns, phase: e => e.c.phase ?? 'not taken up', '': () => '' }
const bodies = new Map()

/** Puts what is there in its place; rows that have not changed are moved, not made. */
function draw() {
  const all = [...known.values()], by = group.value
  const list = all.filter(fits).sort((a, b) => RANK[a.c.state] - RANK[b.c.state] || ORDER[sort.value](a, b))
  const parts = Map.groupBy(list, PART[by])
  const keys = [...parts.keys()].sort((a, b) => by === 'state' ? RANK[a] - RANK[b] : a < b ? -1 : 1)
  for (const [key, it] of bodies) if (!parts.has(key)) { it.remove(); bodies.delete(key) }
  let last = table.tHead
  for (const key of keys) {
    const members = parts.get(key), few = by === 'state' && key === 'rest' && !whole && !box.value && !picked.size && members.length > FEW + 5
    const shown = few ? members.slice(0, FEW) : members
    const title = key === '' ? [] : [h('tr', { class: 'g' }, h('th', { scope: 'rowgroup', colspan: HEAD.length }, by === 'state' ? TITLE[key] : key, ' ', h('small', {}, by === 'state' ? `${members.length}, ${STATES[RANK[key]][2]}` : `${members.length}, ${members.filter(e => e.c.underWay).length} not at rest`)))]
    const more = few ? [h('tr', { class: 'g' }, h('td', { colspan: HEAD.length }, h('button', { type: 'button', onclick: () => { whole = true; draw() } }, `Show ${members.length - FEW} more`)))] : []
    const rows = shown.map(e => e.row ??= makeRow(e.c))
    const it = bodies.get(key) ?? h('tbody', {})
    bodies.set(key, it)
    // A table that stays as it was is not touched: focus and selection stay where they are.
    const shape = `${title[0]?.textContent}|${more[0]?.textContent}`
    const kept = [...it.rows].filter(r => !r.classList.contains('g'))
    if (it.dataset.shape !== shape || kept.length !== rows.length || kept.some((r, i) => r !== rows[i])) {
      const focused = it.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null
      it.replaceChildren(...title, ...rows, ...more)
      it.dataset.shape = shape
      if (focused) [...it.querySelectorAll('a')].find(a => a.getAttribute('href') === focused)?.focus({ preventScroll: true })
    }
    if (last.nextSibling !== it) last.after(it)
    last = it
  }
  body.hidden = !list.length; none.hidden = Boolean(list.length)
  const text = `${list.length} of ${all.length}`
  if (found.textContent !== text) found.textContent = text
  pick(all)
  clocks()
}

function pick(all) {
  const counts = Map.groupBy(all, e => e.c.state)
  const wanted = STATES.filter(([k]) => counts.has(k) || picked.has(k))
  const shape = wanted.map(([k]) => `${k}${counts.get(k)?.length ?? 0}${picked.has(k)}`).join()
  if (picks.dataset.shape === shape) return
  const focused = document.activeElement?.dataset?.state
  picks.dataset.shape = shape
  picks.replaceChildren(...wanted.map(([k, title]) => h('button', { class: 'pick', type: 'button', 'data-state': k, 'aria-pressed': String(picked.has(k)), onclick: () => { picked.has(k) ? picked.delete(k) : picked.add(k); draw() } }, glyph(k), h('span', {}, h('b', {}, counts.get(k)?.length ?? 0), ` ${title.toLowerCase()}`))))
  if (focused) picks.querySelector(`[data-state=${focused}]`)?.focus()
}

function clocks() {
  for (const { c, row } of known.values()) {
    if (!row?.isConnected) continue
    const text = c.since ? ago((now() - c.since) / 1000) : '', cell = row.cells[2]
    if (cell.textContent !== text) cell.textContent = text
  }
}

let typed
box.addEventListener('input', () => { clearTimeout(typed); typed = setTimeout(draw, known.size > 300 ? 80 : 0) })
group.addEventListener('change', draw); sort.addEventListener('change', draw)
document.addEventListener('keydown', e => {
  if (e.target instanceof HTMLInputElement || e.ctrlKey || e.metaKey || e.altKey) { if (e.key === 'Escape' && e.target === box) { box.value = ''; draw() } return }
  if (e.key === '/') { e.preventDefault(); box.focus() }
  const by = { j: 1, k: -1 }[e.key]
  if (by) { const links = [...table.querySelectorAll('tbody a')]; links[Math.max(0, Math.min(links.length - 1, links.indexOf(document.activeElement) + by))]?.focus() }
})
follow(() => `api/v1/fleet${sequence === null ? '' : `?since=${sequence}`}`, { every: 1000, onDoc: take, onRefused: (_, why) => refused(why), onTick: clocks })
