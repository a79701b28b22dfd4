// What every page shares: elements made node by node, shapes, numbers, times, the theme, and asking again.
export const param = name => new URLSearchParams(location.search).get(name)
const NS = 'http://www.w3.org/2000/svg'
function make(node, attrs, kids) {
  for (const [k, v] of Object.entries(attrs ?? {})) {
    if (v === null || v === undefined || v === false) continue
    if (k.startsWith('on')) node.addEventListener(k.slice(2), v)
    else node.setAttribute(k, v === true ? '' : v)
  }
  node.append(...kids.flat(9).filter(kid => kid !== null && kid !== undefined && kid !== false))
  return node
}
export const h = (tag, attrs, ...kids) => make(document.createElement(tag), attrs, kids)
export const s = (tag, attrs, ...kids) => make(document.createElementNS(NS, tag), attrs, kids)

// A shape for every kind: no meaning hangs on a colour alone.
const SHAPES = {
  good: 'M2 7.5 5.5 11 12 3.5', up: 'M7 2 12.5 11h-11z', down: 'M2.5 2.5h9v9h-9z', failed: 'M2.5 2.5h9v9h-9z', hold: 'M3 2.5h3v9H3zM8 2.5h3v9H8z',
  wait: 'M3 2h8L7.6 7l3.4 5H3l3.4-5z', person: 'M7 1.5a2.6 2.6 0 1 1 0 5.2 2.6 2.6 0 0 1 0-5.2zM2 12.5c0-6 10-6 10 0z', info: 'M7 4a3 3 0 1 1 0 6 3 3 0 0 1 0-6z', end: 'M2 6.2h10v1.6H2z',
  alarm: 'M7 1.2 13.3 12.6H.7z', unknown: 'M4 5c0-4 6-4 6-.6C10 7 7 6.6 7 9M7 11v1', running: 'M3 2l9 5-9 5z', rest: 'M7 4a3 3 0 1 1 0 6 3 3 0 0 1 0-6z', canary: 'M7 2a5 5 0 1 1 0 10A5 5 0 0 1 7 2z', primary: 'M2.5 2.5h9v9h-9z'
}
// Marks of decisions, states of canaries, verdicts of checks and states of gates share the shapes.
const ALIAS = { pass: 'good', fail: 'failed', passed: 'good', open: 'wait', gate: 'wait', held: 'hold', later: 'end', start: 'wait', starting: 'wait', suspended: 'hold', cannotMeasure: 'unknown', noData: 'unknown', trouble: 'alarm' }
export const shapeOf = kind => SHAPES[ALIAS[kind] ?? kind] ?? SHAPES.info
const LINES = new Set(['good', 'unknown'])
export const isLine = kind => LINES.has(ALIAS[kind] ?? kind)
export function glyph(kind, label) {
  const path = isLine(kind) ? { fill: 'none', 'stroke-width': 2, 'stroke-linecap': 'round' } : { stroke: 'none' }
  return s('svg', { class: `glyph k-${kind}`, viewBox: '0 0 14 14', role: label ? 'img' : null, 'aria-label': label, 'aria-hidden': label ? null : 'true' }, s('path', { d: shapeOf(kind), ...path }))
}

export const pct = share => {
  const v = share * 100
  return v === 0 ? '0 %' : v < .01 ? '<0.01 %' : `${v < 1 ? v.toFixed(2) : v < 10 ? v.toFixed(1) : v.toFixed(0)} %`
}
export const num = n => n.toLocaleString('en').replaceAll(',', ' ')
/** The same words as the operator's. */
export const odds = logE => {
  const e = Math.exp(logE)
  return logE <= 0 ? 'nothing against it' : e < 10 ? `1 in ${e.toFixed(1)} if healthy` : e < 1e6 ? `1 in ${e.toFixed(0)} if healthy` : 'less than 1 in a million if healthy'
}
const two = n => String(n).padStart(2, '0')
export const clock = ms => { const d = new Date(ms); return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}` }
export function ago(secs) {
  const n = Math.max(0, Math.round(secs))
  return n < 100 ? `${n} s` : n < 5400 ? `${Math.round(n / 60)} min` : n < 129600 ? `${Math.round(n / 3600)} h` : `${Math.round(n / 86400)} d`
}
export const tag = images => (images ?? '').split(', ').map(image => image.slice(image.lastIndexOf(':') + 1)).join(', ')

const order = ['system', 'light', 'dark']
const live = h('span', { class: 'live', role: 'status' })
/** Says whether what is shown is what is; a reader hears of it when that changes. */
export function standing(text, lost) {
  document.documentElement.classList.toggle('lost', Boolean(lost))
  if (live.dataset.text === text) return
  live.dataset.text = text
  live.replaceChildren(s('svg', { width: 8, height: 8, class: lost ? null : 'beat', 'aria-hidden': 'true' }, s('circle', { cx: 4, cy: 4, r: 4, fill: 'currentColor' })), text)
}
export function top(crumbs) {
  const now = () => document.documentElement.dataset.theme ?? 'system'
  const button = h('button', { class: 'bare', type: 'button', onclick: () => {
    const next = order[(order.indexOf(now()) + 1) % 3]
    if (next === 'system') delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = next
    try { next === 'system' ? localStorage.removeItem('serin-theme') : localStorage.setItem('serin-theme', next) } catch { /* not kept */ }
    name()
  } })
  const name = () => { button.replaceChildren(h('span', { 'aria-hidden': 'true' }, now() === 'dark' ? '☾ ' : now() === 'light' ? '☀ ' : '◐ '), now() === 'dark' ? 'Dark' : now() === 'light' ? 'Light' : 'Auto', h('span', { class: 'hide' }, ' colours, change')) }
  name()
  const trail = crumbs.flatMap(([text, href], i) => [i ? h('span', { 'aria-hidden': 'true' }, '/') : null, href ? h('a', { href }, text) : h('span', { 'aria-current': 'page' }, text)])
  standing('reading')
  document.querySelector('.top').append(h('a', { class: 'skip', href: '#main' }, 'To the content'),
    h('a', { class: 'brand', href: './', 'aria-label': 'Serin, all canaries' }, s('svg', { width: 22, height: 22, viewBox: '0 0 22 22', 'aria-hidden': 'true' }, s('path', { d: 'M2 19h5v-5h5V9h4V4l4 2-4 3v5l-4 5z', fill: 'var(--canary)' }), s('circle', { cx: 16.6, cy: 6, r: .9, fill: 'var(--panel)' })), h('b', {}, 'Serin')),
    h('nav', { 'aria-label': 'Where you are' }, trail), h('div', { class: 'right' }, live, button))
}

export const copy = text => h('button', { class: 'bare', type: 'button', 'aria-label': typeof text === 'string' ? `Copy the command ${text}` : 'Copy the command', onclick: async e => {
  const it = e.currentTarget
  try { await navigator.clipboard.writeText(typeof text === 'string' ? text : text()); it.textContent = 'Copied' } catch { it.textContent = 'Select it' }
} }, 'Copy')

/** The pages that have nothing to show say why, and what to do. */
export function nothing(title, text, command) {
  document.getElementById('main').replaceChildren(h('div', { class: 'skel' }, h('div', {}, h('h1', {}, title), h('p', { class: 'soft' }, text), command ? h('div', { class: 'command' }, h('code', {}, command), copy(command)) : null)))
}

let wake
document.addEventListener('visibilitychange', () => { if (!document.hidden) wake?.() })
/** Asks again and again, one request at a time: often while somebody looks, seldom while nobody does. */
export async function follow(path, { every = 1000, onDoc, onRefused, onTick }) {
  let tag = null, since = Date.now(), wait = every, says = null
  for (;;) {
    let told = null, refused = null
    try {
      const answer = await fetch(path(), { cache: 'no-store', headers: tag ? { 'If-None-Match': tag } : {}, signal: AbortSignal.timeout(10000) })
      if (answer.status !== 304) told = await answer.json()
      if (answer.ok) tag = answer.headers.get('etag')
      else if (told) { refused = answer.status; tag = null }
      since = Date.now(); wait = every
    } catch {
      wait = Math.max(2000, every + 1)
      standing(`no updates since ${clock(since)}`, true)
    }
    // What cannot be drawn is a bug of this page, not of the connection.
    try { if (refused) onRefused(refused, told.error); else if (told) says = onDoc(told) } catch (e) { reportError(e) }
    if (wait === every) standing(says ?? 'live', says)
    onTick?.()
    await new Promise(go => { wake = go; setTimeout(go, document.hidden ? 5 * wait : wait) })
  }
}
