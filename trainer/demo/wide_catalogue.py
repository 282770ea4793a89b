"""The words that the large market has in addition to those of `catalogue`: parts, materials, sizes, audiences, cities.

All makers and models are invented: their names are put together from syllables, letters and numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

from astec.trainer.demo.catalogue import Term, names, terms


@dataclass(frozen=True, slots=True)
class Extension:
    """Further words of a category.

    Attributes:
        parts: what is sold for each of its products; `insole` makes `running shoe insole` a product, too.
        sizes: the sizes of its products, such as `size 42`.
        audiences: for whom its products are.
        prices: the highest prices that are asked for, such as `under 50`.
        materials: of what its products are made; empty for services.
        is_coloured: whether its products come in colours.
        has_models: whether the makers number their models.
    """

    parts: tuple[Term, ...]
    sizes: tuple[Term, ...]
    audiences: tuple[Term, ...]
    prices: tuple[Term, ...]
    materials: tuple[Term, ...]
    is_coloured: bool
    has_models: bool


def _filled(template: str, values: str) -> tuple[Term, ...]:
    """Return the term of `template` for each of `values`: `size {}=eu {}` and `41 42` give two terms of two names."""
    return tuple(names(template.replace("{}", value), "=") for value in values.split())


def _extension(
    parts: str,
    sizes: tuple[str, str],
    audiences: str,
    prices: str,
    materials: str = "",
    *,
    is_coloured: bool = False,
    has_models: bool = False,
) -> Extension:
    return Extension(
        terms(parts),
        _filled(*sizes),
        terms(audiences),
        _filled("under {}=below {}=less than {}=max {}", prices),
        terms(materials) if materials else (),
        is_coloured,
        has_models,
    )


EXTENSIONS: Final = {
    "footwear": _extension(
        "insole=insert, lace=shoelace, cleaner=cleaning kit, rack=shelf, bag=pouch, deodorizer=freshener, "
        "sole=outsole, brush=cleaning brush",
        ("size {}=eu {}", "35 36 37 38 39 40 41 42 43 44 45 46 47"),
        "womens=for women=ladies, mens=for men, kids=for kids=childrens, unisex=for everyone, for teens=teens, "
        "toddler=for toddlers, for nurses=nurses",
        "20 30 40 50 60 80 100 120 150 200",
        "leather=real leather, suede=velour leather, mesh=knitted, canvas=cloth, rubber, cork, gore membrane=membrane, "
        "wool felt=felt, patent leather=glossy leather",
        is_coloured=True,
        has_models=True,
    ),
    "clothing": _extension(
        "hanger=clothes hanger, storage bag=garment bag, belt=sash, button=fastener, lining=inner layer, "
        "patch=repair patch, label=name tag, pattern=sewing pattern",
        ("size {}={}", "xxs xs s m l xl xxl 3xl 4xl 5xl"),
        "womens=for women=ladies, mens=for men, kids=for kids=childrens, unisex=for everyone, for teens=teens, "
        "maternity=for pregnancy, toddler=for toddlers",
        "15 20 30 40 50 75 100 150 200 300",
        "cotton=pure cotton, linen=flax, merino=merino wool, cashmere, silk=mulberry silk, polyester, fleece, "
        "corduroy=cord, viscose=rayon, velvet, jersey, bamboo",
        is_coloured=True,
    ),
    "furniture": _extension(
        "cover=slipcover, leg=support leg, cushion=pad, set=suite, wheel=castor, protector=guard, bracket=hinge, "
        "kit=flat pack",
        ("{} cm={} centimetre", "40 60 80 90 100 120 140 160 180 200 220 240"),
        "kids=for kids=childrens, for teens=teens, for seniors=seniors, for students=students, for offices=offices, "
        "for hotels=hotels, for tall people=tall people",
        "50 100 150 200 300 400 500 750 1000 1500",
        "oak=solid oak, walnut, pine=pinewood, leather=real leather, velvet, rattan=wicker, metal=steel, glass, "
        "bamboo, marble=stone, birch, linen, acrylic=perspex",
        is_coloured=True,
        has_models=True,
    ),
    "kitchen appliances": _extension(
        "cover=dust cover, stand=holder, replacement part=spare part, cleaning kit=descaler, filter=strainer, lid=cap, "
        "cord=cable, recipe book=recipe guide",
        ("{} litre={} l", "1 2 3 4 5 6 8 10 12 20"),
        "for families=families, for one person=singles, for restaurants=restaurants, for students=students, "
        "for offices=offices, for beginners=beginners, for bakers=bakers",
        "20 30 50 75 100 150 200 300 500 1000",
        "stainless steel=inox, glass, ceramic, plastic=bpa free plastic, copper, cast iron=iron, aluminium=aluminum, "
        "titanium, enamel",
        is_coloured=True,
        has_models=True,
    ),
    "computers": _extension(
        "bag=carrying case, stand=riser, cover=sleeve, adapter=converter, cable=cord, cleaning kit=cleaner, "
        "battery=power pack, mount=bracket",
        ("{} inch={}in", "10 11 12 13 14 15 16 17 19 22 24 27 32"),
        "for students=students, for gamers=gamers, for designers=designers, for offices=offices, "
        "for programmers=programmers, for seniors=seniors, for photo editing=photographers",
        "50 100 200 300 400 500 750 1000 1500 2000",
        "aluminium=aluminum, plastic, carbon=carbon fibre, magnesium, recycled plastic=recycled, glass, bamboo",
        is_coloured=True,
        has_models=True,
    ),
    "phones and audio": _extension(
        "holder=mount, pouch=carrying case, replacement part=spare part, strap=lanyard, adapter=converter, cable=cord, "
        "sticker=skin, stand=dock",
        ("{} pack=pack of {}", "2 3 4 5 6 8 10 12"),
        "kids=for kids=childrens, for seniors=seniors, for running=runners, for gamers=gamers, for djs=djs, "
        "for travel=travellers, for swimming=swimmers",
        "10 20 30 50 80 100 150 200 300 500",
        "silicone=soft silicone, leather=real leather, aluminium=aluminum, glass, carbon=carbon fibre, wood=wooden, "
        "plastic, fabric=textile, titanium",
        is_coloured=True,
        has_models=True,
    ),
    "home improvement": _extension(
        "replacement part=spare part, bag=carry bag, holder=wall mount, blade=cutting disc, kit=bundle, "
        "installation=fitting, cleaner=cleaning spray, bracket=fixing",
        ("{} mm={} millimetre", "6 8 10 12 15 20 25 30 40 50 60 80 100"),
        "for beginners=beginners, for professionals=professionals, for renters=renters, for carpenters=carpenters, "
        "for builders=builders, diy=do it yourself",
        "10 20 30 50 75 100 150 200 300 500",
        "stainless steel=inox, brass=solid brass, ceramic, aluminium=aluminum, oak=solid oak, plastic=pvc, copper, "
        "bronze, porcelain, nickel=brushed nickel",
        is_coloured=True,
        has_models=True,
    ),
    "garden": _extension(
        "cover=tarp, replacement part=spare part, stand=base, connector=coupling, net=mesh, bag=sack, anchor=peg, "
        "kit=bundle",
        ("{} m={} metre", "1 2 3 4 5 6 8 10 15 20 25 30 50"),
        "for beginners=beginners, for allotments=allotments, for balconies=balconies, for seniors=seniors, "
        "for farms=farms, for schools=schools, for landscapers=landscapers",
        "20 30 50 75 100 150 200 300 500 1000",
        "cedar=cedar wood, teak, steel=metal, plastic=resin, bamboo, stone=granite, terracotta=clay, "
        "aluminium=aluminum, rattan=wicker, fabric=canvas",
        is_coloured=True,
        has_models=True,
    ),
    "pet supplies": _extension(
        "mat=tray, refill=refill pack, storage box=container, cover=liner, cleaner=cleaning spray, brush=comb, "
        "stand=holder, bundle=starter kit",
        ("{} kg={} kilo", "1 2 3 4 5 8 10 12 15 20 25"),
        "for puppies=puppies, for kittens=kittens, for rabbits=rabbits, for terriers=terriers, for huskies=huskies, "
        "for breeders=breeders, for shelters=shelters",
        "5 10 15 20 30 40 50 75 100 150",
        "plush=fluffy, nylon, bamboo, rubber=natural rubber, stainless steel=inox, ceramic, cotton, wood=wooden, "
        "silicone, leather",
        is_coloured=True,
    ),
    "baby": _extension(
        "cover=liner, bag=organizer, toy=rattle, mat=pad, net=mosquito net, replacement part=spare part, "
        "strap=harness, hook=clip",
        ("{} months=from {} months", "1 2 3 4 6 8 9 12 15 18 24 36"),
        "for girls=girls, for boys=boys, for twins=twins, for premature babies=preemies, "
        "for grandparents=grandparents, for nurseries=nurseries",
        "10 20 30 50 75 100 150 200 300 500",
        "cotton=pure cotton, bamboo, beech=beech wood, silicone, muslin=gauze, fleece, glass, merino=merino wool, "
        "plastic=bpa free plastic",
        is_coloured=True,
        has_models=True,
    ),
    "fitness": _extension(
        "bag=carry bag, rack=stand, mat=floor protector, cover=sleeve, replacement part=spare part, handle=grip, "
        "guide=workout plan, holder=wall mount",
        ("{} kg={} kilo", "1 2 3 4 5 6 8 10 12 15 20 25 30"),
        "womens=for women=ladies, mens=for men, for seniors=seniors, for athletes=athletes, kids=for kids=childrens, "
        "for boxers=boxers, for physiotherapy=physios",
        "10 20 30 50 80 100 150 250 500 1000",
        "rubber=natural rubber, cast iron=iron, steel=metal, neoprene, cork, foam, leather, vinyl, cotton",
        is_coloured=True,
        has_models=True,
    ),
    "cycling and outdoors": _extension(
        "bag=stuff sack, repair kit=patch kit, cover=rain cover, rack=carrier, strap=tie down, light=lamp, "
        "pump=inflator, lock=chain lock",
        ("{} cm={} centimetre", "44 48 50 52 54 56 58 60 62 180 200 220"),
        "womens=for women=ladies, mens=for men, for teens=teens, for families=families, for scouts=scouts, "
        "for beginners=beginners, for commuters=commuters",
        "20 30 50 80 100 150 250 500 1000 2000",
        "aluminium=aluminum, titanium, nylon=ripstop nylon, canvas=cotton canvas, steel=chromoly, down=goose down, "
        "polyester, fleece, bamboo",
        is_coloured=True,
        has_models=True,
    ),
    "beauty": _extension(
        "case=pouch, refill=refill pack, gift set=gift pack, sample=tester, organizer=holder, remover=cleanser, "
        "mirror=vanity mirror, applicator=sponge",
        ("{} ml={} millilitre", "10 15 20 30 50 75 100 150 200 250 500"),
        "womens=for women=ladies, mens=for men, for teens=teens, for brides=brides, for blonde hair=blondes, "
        "for curls=curly hair, for mature skin=mature skin",
        "5 10 15 20 25 30 50 75 100 150",
        "shea butter=shea, argan oil=argan, aloe vera=aloe, charcoal=active carbon, collagen, coconut=coconut oil, "
        "rose water=rose extract, clay=mud, hyaluron=hyaluronic acid",
        is_coloured=True,
    ),
    "health": _extension(
        "case=carry case, refill=refill pack, replacement part=spare part, strap=band, organizer=dispenser, "
        "cleaner=cleaning solution, battery=power cell, guide=handbook",
        ("{} pack=pack of {}", "2 3 4 5 6 10 12 20 30 50 60 90 120"),
        "womens=for women=ladies, mens=for men, kids=for kids=childrens, for athletes=athletes, "
        "for pregnancy=pregnancy, for diabetics=diabetics, for runners=runners",
        "10 15 20 30 40 50 75 100 150 250",
        "silicone, bamboo, titanium, cotton, neoprene, stainless steel=inox, plastic, memory foam=viscoelastic foam",
        is_coloured=True,
        has_models=True,
    ),
    "travel": _extension(
        "upgrade=premium upgrade, package=bundle, voucher=gift voucher, guide=travel guide, cancellation=refund, "
        "comparison=price comparison, pass=season pass, booking=reservation",
        ("{} nights={} night stay", "2 3 4 5 7 10 12 14 21 28"),
        "for couples=couples, for groups=groups, for singles=solo travellers, for seniors=seniors, "
        "for backpackers=backpackers, for business=business travellers, for honeymoon=honeymooners",
        "50 100 150 200 300 500 750 1000 1500 2000",
    ),
    "automotive": _extension(
        "cleaner=cleaning kit, replacement=spare, installation=fitting, bracket=mount, storage bag=carry bag, "
        "clip=fastener, tester=gauge, kit=bundle",
        ("{} inch={}in", "13 14 15 16 17 18 19 20 21 22"),
        "for vans=vans, for suvs=suvs, for hatchbacks=hatchbacks, for classic cars=classic cars, for taxis=taxis, "
        "for trailers=trailers, for electric cars=electric cars",
        "10 20 30 50 75 100 150 200 300 500",
        "rubber=natural rubber, aluminium=aluminum, carbon=carbon fibre, steel=metal, vinyl, nylon, silicone, "
        "neoprene, velour=plush",
        is_coloured=True,
        has_models=True,
    ),
    "vehicles": _extension(
        "rental=hire, lease=leasing deal, warranty=extended warranty, inspection=check up, finance plan=finance offer, "
        "spare part=replacement part, dealer=dealership, accessory=add on",
        ("{} model=year {}", "2010 2012 2014 2015 2016 2017 2018 2019 2020 2021 2022 2023 2024"),
        "for families=families, for students=students, for business=businesses, for learners=learners, "
        "for farmers=farmers, for commuters=commuters, for taxi drivers=taxi drivers",
        "2000 3000 5000 7500 10000 15000 20000 25000 30000 50000",
        is_coloured=True,
        has_models=True,
    ),
    "home services": _extension(
        "company=firm, apprenticeship=trainee job, franchise=franchise opportunity, license=permit, quote=estimate, "
        "uniform=workwear set, app=scheduling app, van=truck",
        ("{} square metres={} sqm", "20 30 40 50 60 80 100 120 150 200 300"),
        "for landlords=landlords, for tenants=tenants, for offices=offices, for shops=shops, for seniors=seniors, "
        "for schools=schools, for restaurants=restaurants",
        "30 50 75 100 150 200 300 500 750 1000",
    ),
    "legal and finance": _extension(
        "calculator=estimator, comparison=rate comparison, application=application form, broker=agent, "
        "consultation=advice call, contract=agreement, guide=handbook, course=seminar",
        ("{} years={} year term", "1 2 3 4 5 7 10 15 20 25 30"),
        "for students=students, for freelancers=freelancers=for self employed, for pensioners=pensioners, "
        "for families=families, for expats=expats, for veterans=veterans, for fathers=fathers, for nurses=nurses",
        "50 100 200 300 500 1000 2000 5000 10000 20000",
    ),
    "education": _extension(
        "certificate=diploma, workbook=textbook, app=mobile app, scholarship=grant, teacher=instructor, "
        "schedule=timetable, gift voucher=gift certificate, franchise=franchise opportunity",
        ("{} weeks={} week", "1 2 3 4 6 8 10 12 16 24 36"),
        "for adults=adults, for teens=teens, for seniors=seniors, for parents=working parents, "
        "for foreigners=foreigners, for companies=companies, for dyslexia=dyslexics",
        "20 30 50 75 100 200 300 500 1000 2000",
    ),
    "food and drink": _extension(
        "gift set=gift pack, recipe=cooking recipe, subscription=monthly box, storage jar=container, "
        "tasting=tasting event, sampler=variety pack, wholesaler=bulk supplier, cutter=slicer",
        ("{} g={} gram", "50 100 150 200 250 300 400 500 750 1000"),
        "kids=for kids=childrens, for diabetics=diabetics, for athletes=athletes, for offices=offices, "
        "for parties=parties, for restaurants=restaurants, for beginners=beginners",
        "5 10 15 20 25 30 40 50 75 100",
        "almond=marzipan, vanilla, hazelnut=filbert, lemon=citrus, cinnamon, caramel=toffee, mango, ginger, mushroom, "
        "basil=pesto, truffle, chili=chilli",
    ),
    "jewelry and watches": _extension(
        "case=box, cleaner=cleaning kit, stand=display stand, repair kit=tool kit, chain=cord, clasp=fastener, "
        "engraving=engraving service, travel pouch=pouch",
        ("{} mm={} millimetre", "2 3 4 5 6 8 10 12 16 18 20 22 36 40 42"),
        "for teens=teens, for brides=brides, kids=for kids=childrens, for couples=couples, unisex=for everyone, "
        "for grandma=grandmothers, for collectors=collectors",
        "20 30 50 100 150 200 300 500 1000 2000",
        "sterling silver=925 silver, titanium, stainless steel=inox, tungsten, ceramic, emerald, ruby, opal, amethyst, "
        "leather, jade, white gold=palladium gold",
        is_coloured=True,
        has_models=True,
    ),
    "toys and games": _extension(
        "storage box=container, replacement part=spare part, expansion=add on pack, gift set=gift pack, "
        "battery=power pack, cover=tarp, display stand=stand, magazine=catalogue",
        ("age {}=for {} year olds", "1 2 3 4 5 6 7 8 9 10 12 14 16"),
        "for girls=girls, for boys=boys, for adults=adults, for families=families, for teens=teens, "
        "for collectors=collectors, for kindergarten=kindergartens",
        "10 15 20 25 30 50 75 100 150 250",
        "plastic, cardboard=paper, felt, plush=fluffy, metal=diecast, foam, bamboo, fabric=textile, rubber",
        is_coloured=True,
        has_models=True,
    ),
    "books and music": _extension(
        "case=bag, stand=holder, strap=sling, cleaner=cleaning cloth, gift set=gift pack, subscription=membership, "
        "sheet=chart, shelf=rack",
        ("grade {}=level {}", "1 2 3 4 5 6 7 8 9 10"),
        "kids=for kids=childrens, for adults=adults, for teens=teens, for seniors=seniors, for schools=schools, "
        "for collectors=collectors, for professionals=professionals",
        "10 15 20 30 50 100 200 300 500 1000",
        "mahogany, maple, spruce, rosewood, leather bound=leather, paperback=softcover, hardcover=hardback, brass, "
        "carbon=carbon fibre",
        is_coloured=True,
    ),
    "events and gifts": _extension(
        "rental=hire, package=bundle, template=design template, album=photo album, planner=organizer, box=crate, "
        "display stand=stand, catalogue=brochure",
        ("{} guests=for {} people", "10 20 30 40 50 60 80 100 120 150 200 300"),
        "for brides=brides, for companies=companies, for mothers=mothers, for dads=fathers, for graduation=graduates, "
        "for retirement=retirement, for teens=teens",
        "10 20 30 50 100 200 300 500 1000 2000",
        "silk=satin, lace, paper=recycled paper, roses=rose, wood=wooden, acrylic=perspex, tulle=chiffon, metal, "
        "cotton",
        is_coloured=True,
    ),
}
"""The extension of each of CATEGORIES, by its name."""

COLOURS: Final = terms(
    "red=scarlet, blue=azure, navy=navy blue, black=jet black, white=snow white, grey=gray, green=grass green, "
    "olive=khaki, beige=cream, brown=chestnut, pink=hot pink, purple=violet, yellow=lemon yellow, orange=tangerine, "
    "turquoise=teal, burgundy=maroon, golden=gold coloured, silver=silver coloured, multicolour=colourful, "
    "pastel=soft coloured, neon=fluorescent, coral=salmon, mint=mint green, lilac=lavender"
)

MORE_PLACES: Final = names(
    "aberdeen, adelaide, albuquerque, amritsar, ankara, antwerp, athens, baltimore, bangkok, bari, basel, bath, "
    "beirut, belfast, belgrade, bergen, bern, bilbao, bogota, bologna, bordeaux, boulder, bradford, bratislava, "
    "bremen, brighton, brno, bucharest, budapest, buffalo, burgos, cairo, calgary, cambridge, canberra, cardiff, "
    "casablanca, charlotte, chennai, christchurch, cincinnati, cleveland, cologne, colombo, columbus, cork, coventry, "
    "cracow, dakar, darwin, debrecen, derby, dortmund, dresden, dubai, dundee, dunedin, durban, dusseldorf, edmonton, "
    "eindhoven, el paso, espoo, exeter, florence, fort worth, frankfurt, fresno, fukuoka, galway, gdansk, geneva, "
    "genoa, ghent, gothenburg, granada, graz, groningen, guadalajara, halifax, hamilton, hanoi, hanover, havana, "
    "hobart, honolulu, hull, hyderabad, indianapolis, innsbruck, istanbul, jacksonville, jaipur, jakarta, kampala, "
    "kansas city, karachi, kiel, kingston, kolkata, kyoto, la paz, lahore, las vegas, lausanne, leicester, leipzig, "
    "lille, lima, limerick, linz, ljubljana, louisville, lucerne, luxembourg, lviv, maastricht, malaga, malmo, manila, "
    "marseille, memphis, mexico city, milwaukee, monterrey, montevideo, nagoya, nantes, naples, nashville, newcastle, "
    "nice, nottingham, nuremberg, oakland, odense, oklahoma city, omaha, orlando, osaka, ottawa, oulu, oxford, "
    "palermo, pisa, pittsburgh, plovdiv, plymouth, porto, poznan, prague, pretoria, pune, quebec, quito, raleigh, "
    "reykjavik, riga, rotterdam, sacramento, salzburg, san antonio, san jose, santiago, sarajevo, savannah, seoul, "
    "seville, sheffield, sofia, southampton, stavanger, strasbourg, stuttgart, swansea, tallinn, tampa, tampere, "
    "thessaloniki, tirana, toulouse, trieste, trondheim, tucson, tulsa, turin, turku, utrecht, valencia, valletta, "
    "venice, verona, victoria, vilnius, warsaw, winnipeg, wroclaw, york, zagreb"
)

_BRAND_BEGINS: Final = names(
    "al bel bran cal cor dra dun el fal fen gar gren hal har il jas jor kal kes lor lum mar mel nes nor ol os pel "
    "pra quin rav ros sal sil tam tor ul var ven wex wil yar zan zor",
    " ",
)
_BRAND_MIDDLES: Final = names("a e i o an el en il or", " ")
_BRAND_ENDS: Final = names("dane lia mont nova ric sson tex ton vale vara via wick wood zen co", " ")
BRAND_NAMES: Final = tuple(map("".join, product(_BRAND_BEGINS, _BRAND_MIDDLES, _BRAND_ENDS)))
"""Names to draw the additional makers from."""

_MODEL_SERIES: Final = names("x z gt rs mk v s neo evo pro nx lt", " ")
_MODEL_NUMBERS: Final = (*range(10, 100, 5), *range(100, 1000, 25))
MODELS: Final = tuple(
    (f"{series}{number}", f"{series} {number}", f"{series}-{number}")
    for series, number in product(_MODEL_SERIES, _MODEL_NUMBERS)
)
"""Model names to draw from, such as `x200`."""
