"""The words of the demo click log: the products of an invented market, and how people ask for them.

All brands are invented. A product or an attribute is written `name=synonym=synonym`. Queries often use the synonyms,
bid phrases seldom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Term = tuple[str, ...]
"""Words with the same meaning, the usual one first."""


@dataclass(frozen=True, slots=True)
class Category:
    """One line of business.

    Attributes:
        name: the name of the line of business.
        products: what is sold, in the singular; the plural changes the last word.
        brands: the makers.
        attributes: the kinds of its products, such as waterproof.
    """

    name: str
    products: tuple[Term, ...]
    brands: tuple[Term, ...]
    attributes: tuple[Term, ...]


def names(text: str, separator: str = ",") -> tuple[str, ...]:
    """Split a list of names."""
    return tuple(name.strip() for name in text.split(separator))


def terms(text: str) -> tuple[Term, ...]:
    """Read a list of terms, written as in `name=synonym=synonym, name`."""
    return tuple(names(entry, "=") for entry in text.split(","))


def _category(name: str, products: str, brands: str, attributes: str) -> Category:
    return Category(name, terms(products), terms(brands), terms(attributes))


CATEGORIES: Final = (
    _category(
        "footwear",
        "running shoe=jogging shoe=runner, hiking boot=trekking boot, sandal=flip flop, sneaker=trainer, "
        "loafer=slip on, high heel=stiletto, rain boot=rubber boot, slipper=house shoe, ankle boot=bootie, "
        "dress shoe=oxford, work boot=safety boot, tennis shoe=court shoe",
        "velorun, tarnwick, ostrella, kivano, pedrassa, morvane, halbrook",
        "waterproof=water resistant, wide fit=extra wide, leather, vegan, lightweight, red, white, black, "
        "kids=childrens, mens=for men, womens=ladies",
    ),
    _category(
        "clothing",
        "winter coat=parka, rain jacket=raincoat, hoodie=hooded sweatshirt, summer dress=sundress, "
        "polo shirt=golf shirt, wool sweater=jumper=pullover, denim jacket=jean jacket, evening gown=ball gown, "
        "tracksuit=jogging suit, swimsuit=bathing suit, cardigan=knit jacket, business suit=two piece suit",
        "lindaro, brenvik, solmesa, carrowin, aldensky, petrovale",
        "cotton, linen, plus size=curvy, petite, slim fit=fitted, blue, green, striped, mens=for men, womens=ladies, "
        "organic=eco",
    ),
    _category(
        "furniture",
        "sofa=couch=settee, coffee table=cocktail table, bookshelf=bookcase, bed frame=bedstead, "
        "dining chair=kitchen chair, wardrobe=closet, nightstand=bedside table, office desk=writing desk, "
        "armchair=easy chair, tv stand=media console, bar stool=counter stool, bunk bed=double decker bed",
        "nordhelm, casavira, oakmere, tolvanen, brisagne, fernhollow",
        "oak=solid oak, white, corner=l shaped, foldable=folding, leather, modern=contemporary, rustic=farmhouse, "
        "small=compact, velvet, metal",
    ),
    _category(
        "kitchen appliances",
        "coffee maker=coffee machine, blender=smoothie maker, toaster=bread toaster, air fryer=hot air fryer, "
        "microwave=microwave oven, stand mixer=kitchen mixer, dishwasher=dish washer, refrigerator=fridge, "
        "electric kettle=water boiler, rice cooker=rice steamer, juicer=juice extractor, slow cooker=crock cooker",
        "kelvanto, brewlisse, hotpyre, aromelle, cuzanne, steelvik",
        "stainless steel=inox, cordless, programmable=with timer, mini=small, energy saving=efficient, red, "
        "retro=vintage, quiet=silent, professional=commercial, two slice",
    ),
    _category(
        "computers",
        "laptop=notebook computer, gaming pc=gaming computer, monitor=computer screen, "
        "mechanical keyboard=clicky keyboard, wireless mouse=cordless mouse, external hard drive=portable disk, "
        "graphics card=video card, printer=inkjet, webcam=web camera, router=wifi router, tablet=slate, "
        "docking station=laptop dock",
        "zentrix, corvaline, pixelhaus, quandar, nimbotek, ardentis",
        "refurbished=renewed, touchscreen=touch, curved, ergonomic, 4k=ultra hd, usb c, student=for college, "
        "lightweight=thin, wireless, high speed=fast",
    ),
    _category(
        "phones and audio",
        "smartphone=mobile phone=cell phone, headphone=headset, earbud=in ear phone, "
        "bluetooth speaker=portable speaker, phone case=phone cover, screen protector=tempered glass, "
        "power bank=portable charger, smartwatch=smart watch, soundbar=sound bar, turntable=record player, "
        "microphone=mic, phone charger=charging cable",
        "soniqua, larkwave, teluvo, murmuro, echovane, brightcell",
        "noise cancelling=noise reducing, waterproof=splash proof, unlocked=sim free, wireless=cordless, "
        "fast charging=quick charge, refurbished=used, gold, black, budget, magnetic",
    ),
    _category(
        "home improvement",
        "cordless drill=power drill, circular saw=skill saw, ladder=step ladder, paint roller=roller brush, "
        "wall tile=ceramic tile, laminate floor=wood look floor, kitchen faucet=kitchen tap, "
        "shower head=shower sprayer, toolbox=tool chest, light fixture=ceiling lamp, door lock=deadbolt, "
        "sander=sanding machine",
        "forgeholt, grippman, torvaxx, buildmoor, hexaline, stonewright",
        "heavy duty=industrial, chrome, battery powered=rechargeable, adjustable, smart=wifi, white, brass, 18v, "
        "outdoor, matte black",
    ),
    _category(
        "garden",
        "lawn mower=grass cutter, hedge trimmer=hedge cutter, garden hose=water hose, patio umbrella=parasol, "
        "greenhouse=glass house, raised bed=planter box, leaf blower=yard blower, barbecue grill=bbq, "
        "fire pit=fire bowl, bird feeder=feeding station, compost bin=composter, garden shed=tool shed",
        "verdantis, mossley, greenalto, terravane, bloomsford, hedgerow hill",
        "electric=battery, robotic=automatic, expandable, wooden=cedar, large=xl, gas=propane, foldable, "
        "solar=solar powered, quiet, galvanized",
    ),
    _category(
        "pet supplies",
        "dog food=puppy food, cat litter=kitty litter, dog bed=pet bed, cat tree=scratching tower, "
        "fish tank=aquarium, dog leash=dog lead, bird cage=parrot cage, flea treatment=tick treatment, "
        "pet carrier=travel crate, chew toy=dog toy, dog collar=puppy collar, cat fountain=pet water dispenser",
        "wagmore lane, purrsona, fidowell, whiskerby, tailhaven, pawligan",
        "grain free=without grain, orthopedic=memory foam, organic=natural, large breed=big dog, reflective, "
        "indestructible=tough, washable, small, odor control=deodorizing, senior=for old pets",
    ),
    _category(
        "baby",
        "stroller=pushchair=pram, car seat=child seat, baby crib=cot, diaper=nappy, high chair=feeding chair, "
        "baby monitor=nursery camera, bottle warmer=milk heater, baby carrier=baby wrap, "
        "changing table=diaper table, teething ring=teether, playpen=play yard, breast pump=milk pump",
        "lullabee, tinyharbor, cuddlewick, mimosella, babalune, sproutling house",
        "foldable=collapsible, organic=natural, double=twin, newborn=infant, convertible=grow with me, video, "
        "portable=travel, hypoallergenic, wooden, pink",
    ),
    _category(
        "fitness",
        "treadmill=running machine, yoga mat=exercise mat, dumbbell=hand weight, exercise bike=stationary bike, "
        "rowing machine=rower, resistance band=stretch band, kettlebell=kettle weight, foam roller=massage roller, "
        "weight bench=lifting bench, jump rope=skipping rope, pull up bar=chin up bar, boxing glove=sparring glove",
        "ironvale, flexora, pulsegrid, kettlewick, staminova, liftborn",
        "adjustable=variable, foldable=folding, non slip=anti slip, heavy, thick, home=for home, "
        "commercial=gym quality, beginner=starter, compact, magnetic",
    ),
    _category(
        "cycling and outdoors",
        "mountain bike=mtb, electric bike=e bike, camping tent=tent, sleeping bag=camp bag, "
        "hiking backpack=rucksack, bike helmet=cycling helmet, kayak=paddle boat, fishing rod=fishing pole, "
        "camping stove=camp cooker, headlamp=head torch, cooler box=ice chest, hammock=hanging bed",
        "ridgecall, alpenzo, wildmere, campadour, trailuma, riverstrand",
        "lightweight=ultralight, two person=for two, inflatable=blow up, waterproof, full suspension, "
        "carbon=carbon fiber, four season=all weather, kids=childrens, used=second hand, insulated",
    ),
    _category(
        "beauty",
        "face cream=moisturizer, lipstick=lip color, shampoo=hair wash, hair dryer=blow dryer, perfume=fragrance, "
        "nail polish=nail varnish, mascara=lash color, sunscreen=sun lotion, electric razor=shaver, "
        "hair straightener=flat iron, face mask=sheet mask, makeup brush=cosmetic brush",
        "elunara, rosevique, dermavie, belcanta, sylphine, aquarosa",
        "fragrance free=unscented, vegan, anti aging=wrinkle, oily skin=for oily skin, organic=natural, matte, "
        "waterproof, travel size=mini, sensitive=gentle, volumizing",
    ),
    _category(
        "health",
        "vitamin=supplement, blood pressure monitor=bp monitor, electric toothbrush=power toothbrush, "
        "reading glass=reader, contact lens=eye lens, knee brace=knee support, hearing aid=hearing amplifier, "
        "protein powder=whey, heating pad=heat pad, thermometer=fever meter, wheelchair=mobility chair, "
        "massage gun=muscle massager",
        "vitalune, medorra, wellspan hill, curativa, healthorn, orthovale",
        "daily, digital=electronic, adjustable, sugar free=without sugar, portable=travel, rechargeable, "
        "seniors=elderly, blue light=computer, fda approved, chocolate",
    ),
    _category(
        "travel",
        "flight=plane ticket=airfare, hotel=hotel room, rental car=car hire, cruise=cruise trip, "
        "hostel=backpacker hostel, vacation rental=holiday home, travel insurance=trip insurance, "
        "city tour=guided tour, train ticket=rail ticket, beach resort=seaside resort, ski trip=ski holiday, "
        "airport transfer=airport shuttle",
        "skyvoya, wanderoo inn, jetlisse, horizanto, voyabella, portamar",
        "last minute=late deal, all inclusive=full board, luxury=five star, pet friendly=dogs allowed, "
        "family=with kids, weekend=two day, direct=nonstop, romantic=for couples, business class, student",
    ),
    _category(
        "automotive",
        "car tire=car tyre, brake pad=brake lining, car battery=auto battery, dash cam=dashboard camera, "
        "floor mat=car mat, roof rack=roof carrier, motor oil=engine oil, windshield wiper=wiper blade, "
        "car cover=vehicle cover, jump starter=battery booster, seat cover=seat protector, tow bar=trailer hitch",
        "rodavant, gripstone, autovelle, motorran, drivanto, axelheim",
        "all season=all weather, winter=snow, ceramic, synthetic=fully synthetic, leather, used=second hand, "
        "universal=fits all, heavy duty, truck=pickup, wireless",
    ),
    _category(
        "vehicles",
        "used car=second hand car, pickup truck=pick up, motorcycle=motorbike, electric car=ev, "
        "camper van=motorhome, scooter=moped, sports car=coupe, minivan=people carrier, trailer=utility trailer, "
        "boat=motorboat, golf cart=golf buggy, family suv=crossover",
        "tarravo, electrane, monvissa, kestrane, vanholm, pradello",
        "low mileage=few miles, automatic=auto, hybrid, diesel, seven seat=seven passenger, certified=approved, "
        "convertible, four wheel drive=awd, cheap to run, new",
    ),
    _category(
        "home services",
        "plumber=plumbing service, electrician=electrical contractor, house cleaner=maid service, "
        "locksmith=lock service, roofer=roofing contractor, pest control=exterminator, moving company=mover, "
        "house painter=painting contractor, handyman=odd job man, carpet cleaner=rug cleaner, landscaper=gardener, "
        "window cleaner=window washer",
        "pronto hearth, fixavery, neatwell, homevanta, brightcrew, doorwise",
        "emergency=urgent, 24 hour=round the clock, licensed=certified, local, residential=home, "
        "commercial=business, same day=today, insured, eco friendly=green, weekend",
    ),
    _category(
        "legal and finance",
        "divorce lawyer=divorce attorney, injury lawyer=accident attorney, tax accountant=tax adviser, "
        "home loan=mortgage, car loan=auto loan, credit card=charge card, life insurance=life cover, "
        "car insurance=auto insurance, savings account=deposit account, student loan=college loan, "
        "business loan=commercial loan, immigration lawyer=visa lawyer",
        "lexavane, trustmoor, fidelium park, capstanza, brokenhurst, juristar",
        "no fee=free, online=digital, low interest=low rate, bad credit=poor credit, small business=startup, family, "
        "instant=same day approval, first time=beginner, free consultation, seniors=over 60",
    ),
    _category(
        "education",
        "online course=web course, math tutor=maths teacher, language school=language class, "
        "coding bootcamp=programming bootcamp, piano lesson=piano class, driving school=driving lesson, "
        "mba program=business degree, nursing degree=nursing program, cooking class=cookery course, "
        "test prep=exam prep, guitar lesson=guitar class, dance class=dance lesson",
        "learnovia, scholarium bay, brightpath hall, edumere, mentoria, quillford",
        "beginner=starter, advanced, accredited=certified, evening=night, weekend, kids=for children, free=no cost, "
        "intensive=crash, spanish, private=one on one",
    ),
    _category(
        "food and drink",
        "pizza=pizza pie, sushi=sushi roll, birthday cake=party cake, coffee bean=whole bean coffee, "
        "red wine=merlot, olive oil=virgin oil, meal kit=dinner kit, craft beer=microbrew, "
        "chocolate box=praline box, gift basket=hamper, protein bar=energy bar, green tea=sencha",
        "savorella, tuscalina, hopmarsh, cocoavine, grovanti, teamoor",
        "gluten free=without gluten, vegan=plant based, organic=bio, dark roast=strong, family size=large, "
        "sugar free, fresh=homemade, spicy=hot, imported=foreign, low carb=keto",
    ),
    _category(
        "jewelry and watches",
        "engagement ring=proposal ring, wedding band=wedding ring, gold necklace=gold chain, "
        "pearl earring=pearl stud, silver bracelet=silver bangle, wrist watch=wristwatch, diver watch=dive watch, "
        "charm=pendant, cuff link=cufflink, nose ring=nose stud, pocket watch=fob watch, jewelry box=jewellery case",
        "aurelisse, diamora, chronavel, velmonte, gemharrow, tikkanova",
        "diamond, sapphire, rose gold=pink gold, platinum, vintage=antique, personalized=engraved, "
        "automatic=self winding, mens=for men, womens=ladies, minimalist=simple",
    ),
    _category(
        "toys and games",
        "building block=brick set, board game=tabletop game, jigsaw puzzle=puzzle, doll house=dollhouse, "
        "remote control car=rc car, stuffed animal=plush toy, video game=computer game, game console=games machine, "
        "train set=model railway, trampoline=jumping bed, science kit=experiment kit, "
        "action figure=collectible figure",
        "playtorra, brixany, kobbledy, funmarrow, toyvelle, gigglewood",
        "wooden=timber, educational=learning, 1000 piece=large, two player=for two, outdoor=garden, "
        "toddler=preschool, magnetic, glow in the dark, used=pre owned, cooperative",
    ),
    _category(
        "books and music",
        "cookbook=recipe book, mystery novel=detective novel=whodunit, children's book=picture book, "
        "acoustic guitar=folk guitar, digital piano=electric piano, violin=fiddle, drum kit=drum set, "
        "vinyl record=lp, audiobook=audio book, comic book=graphic novel, ukulele=uke, music stand=sheet music stand",
        "tonavere, pagewynd, melodine, stringfellow bay, harmondale, inkmoor",
        "beginner=starter, used=second hand, signed=autographed, illustrated, left handed=lefty, electric, "
        "travel=portable, classic, bestselling=popular, full size",
    ),
    _category(
        "events and gifts",
        "wedding dress=bridal gown, wedding venue=wedding hall, flower bouquet=floral bouquet, party tent=marquee, "
        "wedding photographer=wedding photography, dj=disc jockey, photo booth=picture booth, "
        "birthday balloon=party balloon, catering service=caterer, costume=fancy dress, invitation card=invite, "
        "gift card=gift voucher",
        "festavia, bellamora, petalgrove, confettina, merrivane, celebrook",
        "outdoor=open air, elegant=classy, affordable, kids=childrens, rustic=country, personalized=custom, "
        "same day=express, large=big, vintage, halloween=spooky",
    ),
)

PLACES: Final = names(
    "london, new york, chicago, los angeles, houston, toronto, sydney, melbourne, dublin, manchester, boston, "
    "seattle, denver, austin, dallas, miami, atlanta, phoenix, philadelphia, san diego, san francisco, portland, "
    "detroit, minneapolis, vancouver, montreal, birmingham, leeds, glasgow, edinburgh, bristol, liverpool, "
    "brisbane, perth, auckland, wellington, cape town, johannesburg, nairobi, lagos, mumbai, delhi, bangalore, "
    "singapore, hong kong, tokyo, berlin, munich, hamburg, paris, lyon, madrid, barcelona, lisbon, rome, milan, "
    "vienna, zurich, amsterdam, brussels, copenhagen, stockholm, oslo, helsinki"
)

INTENTS: Final[tuple[Term, ...]] = (
    ("cheap {}", "affordable {}", "low cost {}", "{} on a budget"),
    ("buy {}", "order {}", "{} for sale", "where to buy {}"),
    ("{} near me", "{} nearby", "local {}", "{} close to me"),
    ("{} reviews", "{} ratings", "is {} any good", "{} test"),
    ("best {}", "top rated {}", "top 10 {}"),
    ("{} repair", "fix {}", "{} servicing"),
    ("how to choose {}", "{} buying guide", "which {} to get"),
    ("{} deals", "discount {}", "{} on sale", "{} coupon"),
    ("{} delivery", "{} home delivery", "{} delivered"),
    ("{} prices", "{} cost", "how much is {}"),
)
"""The intentions of a searcher, such as buying; {} stands for the rest of the query."""

FILLERS: Final = ("good", "online", "new", "great", "the", "find", "please", "today", "i need", "looking for")

_IRREGULAR_ENDS: Final = {"shelf": "shelves", "man": "men", "mouse": "mice"}
_UNCOUNTABLE: Final = names(
    "food, litter, treatment, control, insurance, oil, wine, tea, beer, sushi, shampoo, prep, mascara, perfume, "
    "sunscreen, whey, sencha, photography"
)


def plural(noun: str) -> str:
    """Return the plural of a product name; names of uncountable things stay as they are."""
    for singular_end, plural_end in _IRREGULAR_ENDS.items():
        if noun.endswith(singular_end):
            return noun.removesuffix(singular_end) + plural_end
    if noun.split()[-1] in _UNCOUNTABLE:
        return noun
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"
