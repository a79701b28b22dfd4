// One small chart: rows on a shared time axis, drawn at the width they have, in SVG.
import { s, shapeOf, isLine, pct, clock } from './ui.js'

/** Shares of requests on a scale that never moves: 0 to 100 %, with room where the limits are. */
export const share = p => Math.asinh(p / .001) / Math.asinh(1000)
const SHARE_TICKS = [0, .001, .01, .1, 1]
export const E_LOW = -3, E_HIGH = 9.3
let serial = 0

export function frame(doc, width) {
  const narrow = width < 560
  const left = narrow ? 40 : 52, right = narrow ? 10 : 112
  const whole = Math.max(doc.running ? doc.now : doc.end, 1), from = -whole * .03
  // What is ahead has no times that anybody knows: it gets a fixed part of the width, and evenly spaced steps.
  const to = doc.running ? whole + (whole - from) * .36 : whole + Math.max(.5, Math.min(doc.now - doc.end, whole * (whole < 20 ? .5 : .16)))
  const x = t => left + (t - from) / (to - from) * (width - left - right)
  return { width, left, right, x, from, to, narrow, back: px => from + (px - left) / (width - left - right) * (to - from) }
}
const stepPath = (xs, ys, end) => xs.map((x, i) => (i ? `H${x.toFixed(1)}V${ys[i].toFixed(1)}` : `M${x.toFixed(1)} ${ys[i].toFixed(1)}`)).join('') + (end === undefined ? '' : `H${end.toFixed(1)}`)
const line = (xs, ys) => xs.map((x, i) => `${i ? 'L' : 'M'}${x.toFixed(1)} ${ys[i].toFixed(1)}`).join('')
const area = (xs, high, low) => `${line(xs, high)}L${xs.map((x, i) => `${x.toFixed(1)} ${low[i].toFixed(1)}`).reverse().join('L')}Z`
const mark = (kind, x, y, title) => s('g', { class: `k-${kind}`, transform: `translate(${x - 7} ${y - 7})` }, s('path', { d: 'M-1-1h16v16h-16z', fill: 'var(--panel)' }), s('path', { d: shapeOf(kind), fill: isLine(kind) ? 'none' : 'currentColor', stroke: isLine(kind) ? 'currentColor' : 'none', 'stroke-width': 2 }), title && s('title', {}, title))

/** The frame of a row: grid, decisions as lines, now, the cursor. */
function plot(f, height, label, ticks, marks, doc, last) {
  const bottom = height - (last ? 20 : 4)
  const svg = s('svg', { width: f.width, height, role: 'img', 'aria-label': label })
  for (const [y, text] of ticks) svg.append(s('line', { class: 'grid', x1: f.left, x2: f.width - f.right, y1: y, y2: y }), s('text', { class: 'tick', x: f.left - 7, y: y + 4 }, text))
  for (const m of marks) svg.append(s('line', { class: `mark k-${m.mark}`, x1: f.x(m.t), x2: f.x(m.t), y1: 0, y2: bottom }))
  if (doc.running) svg.append(last ? s('text', { class: 'axis', 'text-anchor': 'middle', x: (f.x(doc.now) + f.width - f.right) / 2, y: height - 4 }, 'planned') : '', s('line', { class: 'now', x1: f.x(doc.now), x2: f.x(doc.now), y1: 0, y2: bottom }))
  if (last) {
    const span = f.to - f.from, step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find(n => span / n <= (f.width - f.left) / 84) ?? 7200
    const first = Math.ceil((doc.t0 / 1000 + f.from) / step) * step - doc.t0 / 1000
    for (let t = first; t <= (doc.running ? doc.now : f.to); t += step) if (f.x(t) < f.width - f.right + 4) svg.append(s('line', { class: 'grid', x1: f.x(t), x2: f.x(t), y1: bottom, y2: bottom + 4 }), s('text', { class: 'axis', 'text-anchor': 'middle', x: f.x(t), y: height - 4 }, clock(doc.t0 + t * 1000)))
  }
  return { svg, bottom }
}
const cursor = (svg, bottom) => { const it = s('line', { class: 'cur', y1: 0, y2: bottom, visibility: 'hidden' }); svg.append(it); return it }
const place = (it, x) => { it.setAttribute('x1', x); it.setAttribute('x2', x); it.setAttribute('visibility', 'visible') }
const put = (dot, x, y) => { dot.setAttribute('visibility', 'visible'); dot.setAttribute('transform', `translate(${x} ${y})`) }
/** Labels at the right edge, pushed apart. */
function labels(svg, f, list, low, high) {
  if (f.narrow) return
  list.sort((a, b) => a.y - b.y)
  list.forEach((l, i) => { l.at = Math.max(l.y, i ? list[i - 1].at + 15 : low + 5) })
  for (let i = list.length - 1, floor = high - 2; i >= 0; i--, floor -= 15) list[i].at = Math.min(list[i].at, floor)
  for (const l of list) svg.append(s('text', { class: `label ${l.cls}`, x: f.width - f.right + 8, y: l.at + 4 }, l.text))
}

export function weight(doc, f, last) {
  const { staircase } = doc, steps = doc.plan?.steps.length ? doc.plan.steps : [100], ahead = doc.plan?.ahead ?? [], height = last ? 120 : 104, top = 24
  const most = Math.max(...steps, ...staircase.map(s => s.weight), 1) * 1.08
  const bottom = height - (last ? 20 : 4), y = w => bottom - Math.min(w, most) / most * (bottom - top)
  const ticks = [0, ...steps].filter((w, i, all) => !i || w === all.at(-1) || (y(0) - y(w) > 13 && y(w) - y(all.at(-1)) > 13 && (w === 5 || w % 20 === 0 || w === 10))).map(w => [y(w), `${w} %`])
  const { svg } = plot(f, height, `Weight of the canary over time, now ${doc.weight} %. Planned: ${steps.join(', ')} %.`, ticks, doc.decisions, doc, last)
  const xs = staircase.map(s => f.x(s.t)), ys = staircase.map(s => y(s.weight)), end = f.x(doc.running ? doc.now : f.to)
  const path = stepPath(xs, ys, end)
  if (xs.length) svg.append(s('path', { class: 'wf', d: `${path}V${bottom}H${xs[0]}Z` }), s('path', { class: 'cl', d: path }))
  if (doc.running && ahead.length) {
    const start = f.x(doc.now), room = f.width - f.right - start, texts = []
    let d = `M${start} ${y(doc.weight)}`
    ahead.forEach((step, i) => { const px = start + room * (i + .62) / (ahead.length + .62); d += `H${px}V${y(step.weight)}`; texts.push([px, step]) })
    d += `H${f.width - f.right}`
    svg.append(s('path', { class: 'aheadf', d: `${d}V${bottom}H${f.x(doc.now)}Z` }), s('path', { class: 'ahead', d }))
    const each = room / ahead.length
    texts.forEach(([px, step], i) => {
      if (step.why && !i) svg.append(mark('wait', px, y(doc.weight), `Waits ${step.why}`))
      const text = step.promotes ? (each > 50 ? 'promote' : '') : each > 34 ? `${step.weight} %` : each > 18 ? step.weight : ''
      svg.append(s('text', { class: 'label halo cf', x: px + 3, y: y(step.weight) - 4 }, text))
    })
  }
  const reached = Math.max(0, ...staircase.map(s => s.weight))
  if (doc.state === 'failed' && reached < steps.at(-1)) {
    let d = `M${f.x(doc.end)} ${y(reached)}`
    const room = f.width - f.right - f.x(doc.end), rest = steps.filter(w => w > reached)
    rest.forEach((w, i) => { d += `H${(f.x(doc.end) + room * (i + .6) / (rest.length + .6)).toFixed(1)}V${y(w)}` })
    svg.append(s('path', { class: 'ahead ghost', d: `${d}H${f.width - f.right}` }), s('text', { class: 'axis halo', x: f.x(doc.end) + 7, y: y(steps.at(-1)) + 6 }, f.narrow || room < 60 ? '' : 'not reached'))
  }
  labels(svg, f, [{ y: y(doc.weight), text: doc.running ? `now ${doc.weight} %` : `${doc.weight} %`, cls: 'cf' }], top, bottom)
  let lastX = -99
  for (const d of doc.decisions) { const px = f.x(d.t); if (px - lastX < 9 && d.mark === 'info') continue; svg.append(mark(d.mark, Math.max(px, lastX + 12), 8, d.text)); lastX = Math.max(px, lastX + 12) }
  const cur = cursor(svg, bottom), dot = s('circle', { r: 4, class: 'cf dot', visibility: 'hidden' }); svg.append(dot)
  return { svg, move: (t, w) => { place(cur, f.x(t)); put(dot, f.x(t), y(w)) } }
}

export function rates(doc, f, n) {
  const { looks } = doc, o = looks.objectives[n], spec = doc.guard.objectives[n], height = 132
  const bottom = height - 4, top = 8, y = p => bottom - share(p) * (bottom - top)
  const of = (side, i) => side.requests[i] ? side.bad[i] / side.requests[i] : 0
  const xs = looks.t.map(f.x), c = xs.map((_, i) => of(o.canary, i)), p = xs.map((_, i) => of(o.primary, i)), end = xs.length - 1
  const counted = name => looks.t.map((_, i) => i).filter(i => o[name].requests[i]), quiet = !o.canary.requests[end]
  const sentence = quiet ? `${spec.title}: the canary got no requests.` : `${spec.title}: canary ${pct(c[end])}, between ${pct(o.canary.low[end])} and ${pct(o.canary.high[end])}; primary ${pct(p[end])}; objective ${pct(spec.slo)}.`
  const { svg } = plot(f, height, sentence, SHARE_TICKS.map(v => [y(v), pct(v).replace('.10', '.1').replace('.0 %', ' %')]), doc.decisions.filter(d => d.mark !== 'info' && d.mark !== 'end'), doc)
  const id = `hatch${++serial}`
  svg.append(s('defs', {}, s('pattern', { id, width: 5, height: 5, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' }, s('line', { class: 'hatch', y2: 5 }))))
  const pick = (name, list) => counted(name).map(i => list[i]), of_ = (name, key) => pick(name, o[name][key]).map(y)
  const band = (name, cls, fill) => !counted(name).length ? [] : [s('path', { class: cls, fill, d: area(pick(name, xs), of_(name, 'high'), of_(name, 'low')) }), s('path', { class: cls === 'cb' ? 'cbe' : 'pbe', d: line(pick(name, xs), of_(name, 'high')) + line(pick(name, xs), of_(name, 'low')) })]
  svg.append(...band('primary', 'pb', `url(#${id})`), ...band('canary', 'cb'))
  svg.append(s('line', { class: 'slo', x1: f.left, x2: f.width - f.right, y1: y(spec.slo), y2: y(spec.slo) }), s('path', { class: 'tol', d: line(xs, o.limit.map(y)) }))
  svg.append(s('path', { class: 'pl', d: line(pick('primary', xs), pick('primary', p).map(y)) }), s('path', { class: 'cl', d: line(pick('canary', xs), pick('canary', c).map(y)) }))
  if (quiet) svg.append(s('text', { class: 'label halo softf', 'text-anchor': 'middle', x: (f.left + f.width - f.right) / 2, y: y(.1) + 4 }, looks.objectives.some(one => one.canary.requests[end]) ? 'Nothing of the canary is judged here yet.' : 'The canary got no requests.'))
  for (let i = 0; i <= end; i++) { const more = o.canary.bad[i] - (i ? o.canary.bad[i - 1] : 0); if (more) svg.append(s('line', { class: 'rug', x1: xs[i], x2: xs[i], y1: bottom, y2: bottom - 3 - Math.min(more, 6) * 1.6 })) }
  labels(svg, f, [...(quiet ? [] : [{ y: y(c[end]), text: `canary ${pct(c[end])}`, cls: 'cf' }]), ...(o.primary.requests[end] ? [{ y: y(p[end]), text: `primary ${pct(p[end])}`, cls: 'pf' }] : []), { y: y(spec.slo), text: `objective ${pct(spec.slo).replace('.0', '')}`, cls: 'ink' }, ...(end < 0 ? [] : [{ y: y(o.limit[end]), text: `limit ${pct(o.limit[end])}`, cls: 'ink' }])], top, bottom)
  if (f.narrow) svg.append(s('text', { class: 'label halo ink', x: f.left + 4, y: y(spec.slo) - 5 }, `objective ${pct(spec.slo).replace('.0', '')}`))
  const cur = cursor(svg, bottom), a = s('circle', { r: 4, class: 'cf dot', visibility: 'hidden' }), b = s('rect', { x: -3.5, y: -3.5, width: 7, height: 7, class: 'pf dot', visibility: 'hidden' }); svg.append(b, a)
  return { svg, move: (t, w, i) => { place(cur, f.x(t)); if (i < 0) return; if (o.canary.requests[i]) put(a, xs[i], y(c[i])); if (o.primary.requests[i]) put(b, xs[i], y(p[i])) } }
}

/** One in how many, short. */
const rare = e => { const n = Math.exp(e); return n < 10 ? n.toFixed(0) : n < 1e5 ? n.toFixed(0) : `10^${Math.round(e / Math.LN10)}` }
export function evidence(doc, f) {
  const { looks, guard } = doc, height = 146, bottom = height - 20, top = 6, limit = guard.logLimit, high = Math.max(E_HIGH, limit * 1.35)
  const y = e => bottom - (Math.max(E_LOW, Math.min(high, e)) - E_LOW) / (high - E_LOW) * (bottom - top)
  const xs = looks.t.map(f.x), ys = looks.logEvidence.map(y), end = xs.length - 1
  const scale = [guard.logHold, Math.log(10), limit, Math.log(1000)].filter((e, i, all) => i === 0 || e === limit || (Math.abs(y(e) - y(limit)) > 13 && y(all[0]) - y(e) > 13))
  const ticks = scale.map(e => [y(e), f.narrow ? rare(e) : `1 in ${rare(e)}`])
  const odds = guard.evidence?.odds ?? 'nothing seen'
  const { svg } = plot(f, height, `Evidence against the canary: ${odds}. It holds from 1 in ${rare(guard.logHold)} and rolls back at 1 in ${rare(limit)}.`, ticks, doc.decisions.filter(d => d.mark !== 'info' && d.mark !== 'end'), doc, true)
  const wide = { x: f.left, width: f.width - f.left - f.right }
  svg.append(s('rect', { class: 'zbad', ...wide, y: top, height: y(limit) - top }), s('rect', { class: 'zhold', ...wide, y: y(limit), height: y(guard.logHold) - y(limit) }))
  svg.append(s('line', { class: 'lhold', x1: f.left, x2: f.width - f.right, y1: y(guard.logHold), y2: y(guard.logHold) }), s('line', { class: 'lbad', x1: f.left, x2: f.width - f.right, y1: y(limit), y2: y(limit) }))
  const words = [[top + 15, guard.mode === 'observe' ? 'would roll back' : 'rolls back', 'badf'], [y(limit) + 16, guard.mode === 'observe' ? 'would hold' : 'holds', 'holdf'], [y(guard.logHold) + 16, 'goes on', 'softf']]
  for (const [at, text, cls] of words) svg.append(s('text', { class: `label halo ${cls}`, x: f.left + 6, y: at }, text))
  if (end >= 0) svg.append(s('path', { class: 'ev', d: line(xs, ys) }))
  if (end === 0) svg.append(s('circle', { class: 'ink', r: 2.5, cx: xs[0], cy: ys[0] }))
  const shown = end < 0 ? ['no look', 'yet'] : looks.logEvidence[end] <= 0 ? ['nothing', 'against it'] : odds.split(' if ').map((t, i) => i ? `if ${t}` : t)
  if (!f.narrow) shown.forEach((t, i) => svg.append(s('text', { class: `label ${looks.logEvidence[end] >= limit ? 'badf' : 'ink'}`, x: f.width - f.right + 8, y: Math.min(bottom - 12, (ys[end] ?? y(0)) + 4) + i * 15 }, t)))
  const cur = cursor(svg, bottom), dot = s('circle', { r: 4, class: 'ink dot', visibility: 'hidden' }); svg.append(dot)
  if (looks.logEvidence[end] >= limit) svg.append(mark('down', xs[end], ys[end], odds))
  return { svg, move: (t, w, i) => { place(cur, f.x(t)); if (i >= 0) put(dot, xs[i], ys[i]) } }
}

/** A staircase in a table cell: the weights that were seen, then the steps ahead. */
export function stairs(weights, steps, ahead = true, w = 96, hgt = 22) {
  const now = weights.at(-1) ?? 0, left = ahead ? steps.filter(v => v > now) : [], all = weights.length + left.length
  const most = Math.max(...steps, ...weights, 1), x = i => 1 + i / Math.max(all, 1) * (w - 2), y = v => hgt - 2 - Math.min(v, most) / most * (hgt - 4)
  let d = `M1 ${y(weights[0] ?? 0)}`
  weights.forEach((v, i) => { d += `H${x(i).toFixed(1)}V${y(v).toFixed(1)}` })
  d += `H${x(weights.length).toFixed(1)}`
  const svg = s('svg', { width: w, height: hgt, 'aria-hidden': 'true' }, s('path', { class: 'wf', d: `${d}V${hgt - 2}H1Z` }), s('path', { class: 'cl', d, 'stroke-width': 1.5 }))
  if (left.length) {
    let a = `M${x(weights.length).toFixed(1)} ${y(now)}`
    left.forEach((v, i) => { a += `H${x(weights.length + i + .4).toFixed(1)}V${y(v).toFixed(1)}` })
    svg.append(s('path', { class: 'ahead', d: `${a}H${w - 1}` }))
  }
  return svg
}
/** Both rates in a table cell, on the scale of the large chart, with the objective. */
export function pair(canary, primary, slo, w = 110, hgt = 26) {
  const y = p => hgt - 3 - Math.min(1, share(p) / share(.2)) * (hgt - 6), x = (i, list) => 2 + (list.length > 1 ? i / (list.length - 1) : 1) * (w - 6)
  const curve = list => line(list.map((_, i) => x(i, list)), list.map(y))
  const svg = s('svg', { width: w, height: hgt, 'aria-hidden': 'true' })
  if (slo) svg.append(s('line', { class: 'grid', x1: 0, x2: w, y1: y(slo), y2: y(slo) }))
  if (primary.length) svg.append(s('path', { class: 'pl', d: curve(primary) }))
  if (canary.length) svg.append(s('path', { class: 'cl', d: curve(canary) }), s('circle', { class: 'cf', cx: x(canary.length - 1, canary), cy: y(canary.at(-1)), r: 2.4 }))
  return svg
}
/** How far the evidence is to the line: holds from the first notch, rolls back at the second. */
export function gauge(logE, limit, w = 84, hgt = 14) {
  const high = limit * 1.52, x = e => Math.max(0, Math.min(1, (e - E_LOW) / (high - E_LOW))) * w
  return s('svg', { width: w, height: hgt, 'aria-hidden': 'true' }, s('rect', { x: x(0), y: 2, width: x(limit) - x(0), height: 10, class: 'zhold' }), s('rect', { x: x(limit), y: 2, width: w - x(limit), height: 10, class: 'zbad' }), logE < 0 ? s('circle', { cx: Math.max(3, x(logE)), cy: 7, r: 2.6, class: 'softf' }) : s('rect', { x: x(0), y: 5, height: 4, width: x(logE) - x(0), class: logE >= limit ? 'badf' : 'holdf' }), s('line', { class: 'lbad', x1: x(limit), x2: x(limit), y1: 0, y2: hgt }))
}
