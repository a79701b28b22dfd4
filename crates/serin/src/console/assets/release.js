import { h, top, follow, nothing, glyph, pct, num, odds, clock, ago, tag, copy, param } from './ui.js'
import * as chart from './chart.js'

const [ns, name] = (param('c') ?? '').split('/')
top([['Canaries', './'], [ns || '?', `./?q=${encodeURIComponent(`${ns}/`)}`], [name || '?', null]])
const main = document.getElementById('main')
let doc = null, ahead = 0
/** Seconds after t0, at this moment. */
const moment = () => (Date.now() + ahead - doc.t0) / 1000
const brief = () => (doc.end ?? doc.now) < 20
// Tenths where the whole story takes seconds.
const at = t => { const ms = Math.max(0, Math.round(t * 1000)); return clock(doc.t0 + ms) + (brief() ? `.${Math.floor((doc.t0 + ms) / 100) % 10}` : '') }

/** A part of the page that is made anew only when what it shows has changed; focus stays where it was. */
function part(tagName, attrs, make) {
  const it = h(tagName, attrs)
  let known
  it.refresh = (...of) => {
    const text = JSON.stringify(of)
    if (text === known) return it
    known = text
    const places = [...it.querySelectorAll('a,button,input,[tabindex]')], place = places.indexOf(document.activeElement)
    const kids = make(...of)
    it.hidden = kids === null
    it.replaceChildren(...[kids ?? []].flat(9).filter(Boolean))
    if (place >= 0) [...it.querySelectorAll('a,button,input,[tabindex]')][place]?.focus({ preventScroll: true })
    return it
  }
  return it
}
const CHIP = { failed: 'failed', trouble: 'trouble', held: 'held', gate: 'gate', running: 'running', starting: 'starting', suspended: 'suspended', rest: 'good' }
const WORD = { failed: 'Rolled back', trouble: 'Needs somebody', held: 'Held', gate: 'Waits for approval', running: 'Releasing', starting: 'Starting', suspended: 'Suspended', rest: 'At rest' }

// -- first what happened, then what to do
const head = part('div', { class: 'head' }, (d, release) => [
  h('div', { class: 'id' }, h('h1', {}, h('span', {}, `${ns} / `), name), h('span', { class: `chip k-${CHIP[d.state]}` }, glyph(CHIP[d.state]), d.phase ?? WORD[d.state])),
  h('dl', { class: 'facts' }, fact('Weight', d.matched ? `${d.weight} %, and what matches` : d.mirrored ? `${d.weight} %, copies of ${d.mirrored} %` : `${d.weight} %`),
    release.new ? fact('Image', release.old && release.old !== release.new ? [h('span', { class: 'old', title: release.old }, tag(release.old)), h('span', { class: 'arrow', 'aria-label': 'to' }, '→')] : null, h('span', { class: 'new', title: release.new }, tag(release.new))) : null,
    release.revision ? fact('Revision', h('span', { class: 'mono', title: release.revision }, release.revision.slice(0, 11))) : null,
    fact('Began', `${clock(d.t0)} UTC`), release.by ? fact('Changed by', release.by) : null)])
const fact = (title, ...value) => h('div', {}, h('dt', {}, title), h('dd', {}, ...value))
const since = h('dd', {}), sinceTitle = h('dt', {})
const elapsed = h('div', {}, sinceTitle, since)
const banner = part('section', { 'aria-label': 'What happened, and what to do' }, ({ state, mark, what, more, todo, command, docs }, unseen) => [
  glyph(state === 'rest' ? mark : CHIP[state]),
  h('div', {}, h('p', { class: 'what' }, what), h('p', { class: 'more' }, more), h('p', { class: 'todo' }, h('b', {}, 'Now:'), todo, ' ', h('a', { href: docs.url, rel: 'noreferrer' }, docs.title)),
    h('div', { class: 'command' }, h('code', {}, command), copy(command)),
    unseen.map(text => h('p', { class: 'more' }, `Not seen: ${text}`)))])

// -- the charts
const slider = h('input', { type: 'range', min: 0, max: 0, step: 1, value: 0, 'aria-label': 'Moment that the numbers speak of' })
const when = h('output')
const back = h('button', { type: 'button', class: 'bare', hidden: true, onclick: () => { pinned = null; show(moments.length - 1) } }, 'Back to the end')
const time = h('div', { class: 'time' }, slider, when, back)
const charts = h('section', { class: 'panel charts', 'aria-label': 'Measurements' })
let rows = [], shape = '', moments = [], current = 0, pinned = null, drawn = []
const row = (title, sub, draw, rate) => { const read = h('div', { class: 'read' }), plot = h('div', { class: 'plot' }); rows.push({ read, plot, draw }); return h('section', { class: `row${rate ? ' rate' : ''}` }, h('header', {}, h('h3', {}, title), read, h('p', {}, sub)), plot) }
function frame() {
  const { guard, plan } = doc, objectives = guard?.objectives ?? []
  const now = JSON.stringify([objectives, plan?.steps, plan?.interval, guard?.mode, guard?.logLimit])
  if (now === shape) return
  shape = now; rows = []
  const steps = !plan ? 'The spec makes no sense, so there is no plan.' : plan.iterations ? `${plan.iterations} rounds of checks, one each ${plan.interval} s.` : `Steps ${plan.steps.join(', ')} %, one each ${plan.interval} s when the checks pass.`
  const limit = guard ? Math.round(Math.exp(guard.logLimit)) : 0
  charts.replaceChildren(h('h2', { class: 'hide' }, 'Measurements'),
    row('Weight', `Share of the traffic that the canary gets. ${steps}`, f => chart.weight(doc, f, !guard)),
    ...objectives.map((o, i) => row(o.title, `Share of ${o.unit} since the first share, with the range that holds at all times. Limits: the objective, and beside the primary (dashed).`, f => chart.rates(doc, f, i), true)),
    ...(guard ? [row('Evidence against the canary', `How rarely a healthy version looks this bad, with somebody watching all the time. The guard ${guard.mode === 'observe' ? 'only observes; it would roll back' : 'rolls back'} at 1 in ${num(limit)}.`, f => chart.evidence(doc, f))] : []),
    time)
  resized.disconnect(); resized.observe(rows[0].plot)
}
const side = (cls, which, o, i) => i < 0 || !o.requests[i] ? h('span', { class: cls }, glyph(which), ' no requests') : h('span', { class: cls }, glyph(which), ' ', h('b', {}, pct(o.bad[i] / o.requests[i])), ` ${num(o.bad[i])} of ${num(o.requests[i])}, between ${pct(o.low[i])} and ${pct(o.high[i])}`)
const weightAt = t => doc.staircase.findLast(s => s.t <= t + .001)?.weight ?? 0
function move(k) {
  const t = moments[k], i = doc.looks.t.findLastIndex(v => v <= t + .001), w = weightAt(t), objectives = doc.guard?.objectives ?? []
  drawn.forEach(d => d.move(t, w, i))
  rows[0].read.replaceChildren(h('span', { class: 'c' }, h('b', {}, `${w} %`)))
  objectives.forEach((_, n) => { const o = doc.looks.objectives[n]; rows[n + 1].read.replaceChildren(side('c', 'canary', o.canary, i), side('p', 'primary', o.primary, i)) })
  const says = i < 0 ? 'nothing seen yet' : odds(doc.looks.logEvidence[i])
  if (doc.guard) rows.at(-1).read.replaceChildren(h('span', {}, h('b', {}, says)))
  const d = doc.decisions.findLastIndex(d => d.t <= t + .05)
  log.querySelectorAll('li').forEach(li => { +li.dataset.at === d ? li.setAttribute('aria-current', 'true') : li.removeAttribute('aria-current') })
  const end = k === moments.length - 1
  when.textContent = `${at(t)} UTC${end ? doc.running ? ', the last news' : ', the end' : ''}`
  back.hidden = end
  const o = doc.looks.objectives[0]
  slider.setAttribute('aria-valuetext', `${at(t)}: weight ${w} %${o && i >= 0 ? `, canary ${o.canary.bad[i]} of ${o.canary.requests[i]} bad, primary ${o.primary.bad[i]} of ${o.primary.requests[i]}` : ''}, ${says}`)
}
const nearest = t => { let best = 0; moments.forEach((v, i) => { if (Math.abs(v - t) < Math.abs(moments[best] - t)) best = i }); return best }
const show = k => { current = Math.max(0, Math.min(moments.length - 1, k)); slider.value = current; move(current) }
/** What was chosen stays chosen while time goes on; the end stays the end. */
const choose = k => { show(k); pinned = current === moments.length - 1 ? null : moments[current] }
slider.addEventListener('input', () => choose(+slider.value))
charts.addEventListener('pointermove', e => { const plot = e.target.closest('.plot'); if (!plot || !drawn.length) return; const px = e.clientX - plot.getBoundingClientRect().left; if (px >= drawn.frame.left - 4) show(nearest(drawn.frame.back(px))) })
charts.addEventListener('pointerleave', () => show(pinned === null ? moments.length - 1 : nearest(pinned)))
charts.addEventListener('click', e => { if (e.target.closest('.plot')) choose(current) })
function draw() {
  const width = rows[0]?.plot.clientWidth
  if (!width) return
  const f = chart.frame(doc, width), hovered = charts.matches(':hover') && !slider.matches(':hover') ? moments[current] : null
  moments = [...new Set([...doc.looks.t, ...doc.staircase.map(s => s.t), ...doc.decisions.map(d => d.t)])].sort((a, b) => a - b)
  if (!moments.length) moments = [0]
  slider.max = moments.length - 1
  drawn = rows.map(r => { const d = r.draw(f); r.plot.replaceChildren(d.svg); return d })
  drawn.frame = f
  const keep = hovered ?? pinned
  show(keep === null || keep === undefined ? moments.length - 1 : nearest(keep))
}
let seen = 0
const resized = new ResizeObserver(() => requestAnimationFrame(() => { const width = rows[0].plot.clientWidth; if (width !== seen) { seen = width; draw() } }))

// -- what was decided, asked, made of, and by whom
const log = h('ol', { class: 'log' })
const decisions = part('section', { class: 'panel' }, list => { log.classList.toggle('tenths', brief()); log.replaceChildren(...list.map((d, i) => h('li', { 'data-at': i }, glyph(d.mark), h('time', {}, at(d.t)), h('div', {}, h('button', { type: 'button', onclick: () => choose(nearest(d.t)) }, d.text), ' ', h('code', {}, d.code)))).reverse()); return [h('header', {}, h('h2', {}, 'Decisions'), h('small', {}, 'newest first; each moves the charts')), list.length ? log : h('p', { class: 'soft' }, 'None was seen yet.')] })
const SHOWN = { pass: 'pass', fail: 'fail', noData: 'no data', cannotMeasure: 'not measured', hold: 'hold' }
const scroll = (label, node) => h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label }, node)
const checks = part('section', { class: 'panel' }, (list, failed, threshold) => !list.length ? null : [h('header', {}, h('h2', {}, 'Checks'), h('small', {}, threshold ? `${failed} of ${threshold} failures until a rollback; newest first` : 'newest first')), scroll('Checks', h('table', {}, h('thead', {}, h('tr', {}, ['Check', 'Verdict', 'Value', 'Limit', 'Over', 'Asked'].map((t, i) => h('th', { scope: 'col', class: i === 2 || i === 3 ? 'num' : null }, t)))),
  h('tbody', {}, list.map(c => h('tr', {}, h('td', {}, h('span', { class: 'nowrap' }, c.name), c.message ? h('small', { class: 'soft note' }, c.message) : null), h('td', { class: `nowrap k-${c.verdict}` }, glyph(c.verdict), ` ${SHOWN[c.verdict] ?? c.verdict}`), h('td', { class: 'num' }, c.value === undefined ? '–' : +c.value.toPrecision(4)), h('td', { class: 'num' }, c.limit ?? ''), h('td', { class: 'nowrap' }, c.window ?? ''), h('td', { class: 'nowrap' }, c.time ? `${clock(Date.parse(c.time))} at ${c.weight} %` : `at ${c.weight} %`))).reverse())))])
const parts = part('section', { class: 'panel' }, list => !list?.length ? null : [h('header', {}, h('h2', {}, 'What the evidence is made of'), h('small', {}, 'what each comparison adds')), scroll('Parts of the evidence', h('table', {}, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Objective'), h('th', { scope: 'col' }, 'Beside'), h('th', { scope: 'col', class: 'num' }, 'Limit'), h('th', { scope: 'col', class: 'num' }, 'Canary'), h('th', { scope: 'col', class: 'num' }, 'Primary'), h('th', { scope: 'col' }, 'If healthy'), h('th', { scope: 'col', class: 'num' }, 'Part'))),
  h('tbody', {}, list.map(c => h('tr', {}, h('td', { class: 'nowrap' }, c.metric), h('td', { class: 'nowrap' }, c.against === 'objective' ? 'its objective' : `the ${c.against}`), h('td', { class: 'num' }, pct(c.limit)), h('td', { class: 'num' }, `${num(c.canary.bad)} of ${num(c.canary.requests)}`), h('td', { class: 'num' }, `${num(c.primary.bad)} of ${num(c.primary.requests)}`), h('td', { class: 'nowrap' }, c.odds.replace(' if healthy', ''), c.missing ? h('small', { class: 'soft note' }, `${num(c.missing)} more good requests to go on`) : null), h('td', { class: 'num' }, c.logEvidence > 0 ? `${(c.share * 100).toFixed(0)} %` : '–'))))))])
const GATE = { open: 'waits', passed: 'passed', later: 'later' }
const gates = part('section', { class: 'panel' }, list => !list.length ? null : [h('header', {}, h('h2', {}, 'Gates')), h('ul', { class: 'items' }, list.map(g => h('li', {}, glyph(g.state), h('div', {}, g.name, h('small', { class: 'soft' }, g.type)), h('small', { class: `k-${g.state}` }, GATE[g.state]))))])
const notes = part('section', { class: 'panel' }, (findings, conditions, said) => !findings.length && !conditions.length ? null : [h('header', {}, h('h2', {}, 'Conditions'), h('small', {}, 'what is true now')), findings.length ? h('ul', { class: 'items' }, findings.map(f => h('li', {}, glyph('trouble'), h('div', {}, f)))) : null, h('ul', { class: 'items' }, conditions.map(c => h('li', {}, glyph(c.status === 'Unknown' ? 'unknown' : (c.status === 'True') === !['Stalled', 'Suspended', 'Reconciling'].includes(c.type) ? 'good' : 'info'), h('div', {}, `${c.type} ${c.status}`, h('small', { class: 'soft' }, c.message === said ? `${c.reason}: as above` : `${c.reason}: ${c.message}`)))))])
const podsOf = (list, which, image, now) => { const mine = list.filter(p => p.side === which); return [h('h3', { class: `side ${which === 'canary' ? 'new' : 'old'}` }, glyph(which), ` ${which} ${tag(image)} · ${mine.length ? `${mine.filter(p => p.ready).length} of ${mine.length} ready` : 'no pods'}`), mine.length ? h('ul', { class: 'items' }, mine.map(p => h('li', {}, glyph(p.ready ? 'good' : 'wait', p.ready ? 'ready' : 'not ready'), h('div', {}, h('div', { class: 'mono trunc', title: p.name }, h('bdi', {}, p.name)), p.why ? h('small', {}, p.why) : null), h('small', { class: 'soft' }, `${p.status === 'Running' ? '' : `${p.status}, `}${p.restarts ? `${p.restarts} restart${p.restarts > 1 ? 's' : ''}, ` : ''}${p.since ? `since ${clock(Date.parse(p.since))}` : ''}`)))) : null] }
const pods = part('section', { class: 'panel' }, (list, release) => [h('header', {}, h('h2', {}, 'Pods')), podsOf(list, 'canary', release.new), podsOf(list, 'primary', release.primary)])

function page(next) {
  doc = next; ahead = doc.t0 + doc.now * 1000 - Date.now()
  document.title = `${doc.weight} % ${doc.canary} · Serin`
  head.refresh({ state: doc.state, phase: doc.phase, weight: doc.weight, matched: doc.matched, mirrored: doc.mirrored, t0: doc.t0 }, doc.release)
  head.querySelector('dl')?.append(elapsed)
  banner.className = `banner k-${CHIP[doc.state]}`
  banner.refresh(doc.headline, doc.unseen)
  frame()
  decisions.refresh(doc.decisions, brief())
  checks.refresh(doc.checks, doc.failedChecks, doc.plan?.threshold)
  parts.refresh(doc.guard?.evidence?.checks)
  gates.refresh(doc.gates)
  notes.refresh(doc.findings, doc.conditions, doc.reason?.message)
  pods.refresh(doc.pods, doc.release)
  if (!charts.isConnected) main.replaceChildren(head, banner, h('div', { class: 'cols' }, h('div', {}, charts, parts, checks), h('div', {}, gates, decisions, pods, notes)))
  tick(); draw()
}
function tick() {
  if (!doc) return
  sinceTitle.textContent = doc.running ? 'For' : 'Took'
  since.textContent = ago(doc.running ? moment() : doc.end ?? 0)
}
let last = 0
const pass = () => { tick(); if (doc?.running && Date.now() - last > 900 && !document.documentElement.classList.contains('lost')) { last = Date.now(); doc.now = Math.max(doc.now, moment()); draw() } }
const refused = (status, why) => { if (status === 503) return; doc = null; nothing(status === 404 ? 'It is not there' : 'The cluster does not answer', `${why} ${status === 404 ? 'It may have been deleted, or be in another namespace.' : 'Releases go on without this page.'}`, `kubectl get canaries -n ${ns}`) }
if (!ns || !name) nothing('Which canary?', 'The address of this page names none.', null)
else follow(() => `api/v1/releases/${encodeURIComponent(ns)}/${encodeURIComponent(name)}`, { every: 500, onDoc: page, onRefused: refused, onTick: pass })
